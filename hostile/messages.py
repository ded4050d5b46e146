"""Any protobuf message with values at the edges of what its fields can hold, and mutations of bytes.

Everything follows from the message's descriptor, so that a field that is new in the protocol is attacked at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from hostile.texts import HOSTILE_NAMES, MODEL, VERSIONS, text
from service.validation import MODEL_FIELDS

_SMALL = (0, 1, 2, 3, 5)
_INT32 = (*_SMALL, -1, 8, 31, 32, 33, 256, 2**31 - 1, -(2**31))
_INT64 = (*_INT32, 2**53 + 1, 2**63 - 1, -(2**63))
_FLOATS = (0.0, -0.0, 0.5, 1.0, 1.5, 2.0, 10.0, 100.0, -1.0, 1e-45, 3e38, float("inf"), float("-inf"), float("nan"))
EDGES: dict[int, tuple[Any, ...]] = {
    FieldDescriptor.CPPTYPE_INT32: _INT32,
    FieldDescriptor.CPPTYPE_INT64: _INT64,
    FieldDescriptor.CPPTYPE_UINT32: (*_SMALL, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (*_SMALL, 2**63, 2**64 - 1),
    FieldDescriptor.CPPTYPE_FLOAT: _FLOATS,
    FieldDescriptor.CPPTYPE_DOUBLE: (*_FLOATS, 1e308),
    FieldDescriptor.CPPTYPE_BOOL: (False, True),
    FieldDescriptor.CPPTYPE_ENUM: (0, 1, 2, 99, -1),
}
"""By FieldDescriptor.cpp_type; strings and bytes are texts."""
NAMES = (*(MODEL,) * 24, "tiny2", *HOSTILE_NAMES)
"""What stands in a field that names a model."""


def fill(message: Message, order: random.Random, *, share: float = 0.3) -> Message:
    """Sets each field with a probability of `share`, texts and names always; gives the message back."""
    for field in message.DESCRIPTOR.fields:
        if not is_main(field) and order.random() > share:
            continue
        count = order.choice((1, 1, 1, 2, 3)) if field.is_repeated else 1
        for _ in range(count):
            _set(message, field, order, share)
    return message


def is_main(field: Any) -> bool:
    """Whether a request without it is refused before anything else is looked at."""
    return names_model(field) or field.name in ("text", "texts", "pairs", "source", "target", "start", "inputs")


def names_model(field: Any) -> bool:
    """Whether a field of a request names a model; what is within one, such as a tensor, has a name of its own."""
    return field.name in MODEL_FIELDS and field.containing_type.containing_type is None


def names_version(field: Any) -> bool:
    """Whether a field has a version, or a label of one, as a text."""
    return field.name in ("version", "model_version") and field.cpp_type == FieldDescriptor.CPPTYPE_STRING


def is_map(field: Any) -> bool:
    """Whether a field is a map, whose entries have a `key` and a `value`."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _set(message: Message, field: Any, order: random.Random, share: float) -> None:
    place = getattr(message, field.name)
    if is_map(field):
        entry = field.message_type.fields_by_name
        fill(place[value_of(entry["key"], order)], order, share=share)
        return
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        fill(place.add() if field.is_repeated else place, order, share=share / 2)
        if not field.is_repeated:
            place.SetInParent()
        return
    value = value_of(field, order)
    if field.is_repeated:
        place.append(value)
    else:
        setattr(message, field.name, value)


def value_of(field: Any, order: random.Random) -> Any:
    """A value that the field can hold, likely one at an edge."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        if names_model(field):
            value = order.choice(NAMES)
        else:
            value = order.choice(VERSIONS) if names_version(field) else text(order)
        return value.encode() if field.type == FieldDescriptor.TYPE_BYTES else value
    edges = EDGES[field.cpp_type]
    return order.choice(edges[: len(_SMALL)] if order.random() < 0.5 else edges)


def mutate(data: bytes, order: random.Random) -> bytes:
    """The bytes with one to four small changes."""
    changed = bytearray(data)
    for _ in range(order.randint(1, 4)):
        order.choice(_MUTATIONS)(changed, order)
    return bytes(changed)


def _flip(data: bytearray, order: random.Random) -> None:
    if data:
        data[order.randrange(len(data))] ^= 1 << order.randrange(8)


def _replace(data: bytearray, order: random.Random) -> None:
    if data:
        data[order.randrange(len(data))] = order.choice((0, 0x7F, 0x80, 0xFF, order.randrange(256)))


def _insert(data: bytearray, order: random.Random) -> None:
    at = order.randint(0, len(data))
    data[at:at] = order.randbytes(order.randint(1, 8))


def _drop(data: bytearray, order: random.Random) -> None:
    start = order.randint(0, len(data))
    del data[start : start + order.randint(1, 8)]


def _repeat(data: bytearray, order: random.Random) -> None:
    start = order.randint(0, len(data))
    piece = data[start : start + order.randint(1, 32)]
    data[start:start] = piece


def _cut(data: bytearray, order: random.Random) -> None:
    del data[order.randint(0, len(data)) :]


_MUTATIONS: Sequence[Callable[[bytearray, random.Random], None]] = (
    _flip,
    _flip,
    _replace,
    _insert,
    _drop,
    _repeat,
    _cut,
)
