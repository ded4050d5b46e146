"""From the bytes of a message to the message, inside the handler: gRPC's own parsing would answer UNKNOWN, with what
went wrong inside, and would come before anybody asked who calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from service.errors import InvalidRequestError


def parse(deserialize: Callable[[bytes], Any], message_bytes: bytes) -> Any:
    """The message; raises InvalidRequestError where the bytes are none, or a text in them is not UTF-8."""
    try:
        message = deserialize(message_bytes)
    except DecodeError as error:
        raise InvalidRequestError("the bytes are no message of this method, or a text in it is not UTF-8") from error
    _require_known_enums(message)
    return message


def count_unknown_fields(message: Message) -> int:
    """Fields that a newer client knows and this server does not; they are passed over."""
    return sum(len(UnknownFieldSet(part)) for part in _parts(message))


def _require_known_enums(message: Message) -> None:
    for part in _parts(message):
        for field, value in part.ListFields():
            if field.enum_type is None:
                continue
            known = field.enum_type.values_by_number
            for number in value if field.is_repeated else (value,):
                if number not in known:
                    raise InvalidRequestError("{field} is {value}, which names nothing", field=field.name, value=number)


def _parts(message: Message) -> Iterator[Message]:
    """A message and all messages in it."""
    yield message
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for inner in value if field.is_repeated else (value,):
                yield from _parts(inner)
