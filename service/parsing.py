"""From the bytes of a message to the message, inside the handler: gRPC's own parsing would answer UNKNOWN, with what
went wrong inside, and would come before anybody asked who calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from service.errors import InvalidRequestError


class Parsed(NamedTuple):
    """A message, and how many fields in it a newer client knows and this server passes over."""

    message: Any
    num_unknown_fields: int


def parse(deserialize: Callable[[bytes], Any], message_bytes: bytes) -> Parsed:
    """The message; raises InvalidRequestError where the bytes are none, a text in them is not UTF-8, or a number of an
    enumeration names nothing."""
    try:
        message = deserialize(message_bytes)
    except DecodeError as error:
        raise InvalidRequestError("the bytes are no message of this method, or a text in it is not UTF-8") from error
    return Parsed(message, _inspect(message))


def _inspect(message: Message) -> int:
    """Unknown fields in a message and in all messages in it."""
    number = len(UnknownFieldSet(message))
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            number += sum(map(_inspect, _messages(field, value)))
        elif field.enum_type is not None:
            for one in value if field.is_repeated else (value,):
                if one not in field.enum_type.values_by_number:
                    raise InvalidRequestError("{field} is {value}, which names nothing", field=field.name, value=one)
    return number


def _messages(field: FieldDescriptor, value: Any) -> Iterable[Message]:
    """The messages in a field of such: one, a list, or the values of a map."""
    kind = field.message_type
    assert kind is not None
    if kind.GetOptions().map_entry:
        is_message = kind.fields_by_name["value"].type == FieldDescriptor.TYPE_MESSAGE
        return value.values() if is_message else ()
    return value if field.is_repeated else (value,)
