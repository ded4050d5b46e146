"""Reads and writes the wire format of protobuf, as far as graphs need it. It does not know what fields mean."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

from service.model.errors import GraphError

Content = bytes | mmap.mmap
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_VARINT_BYTES = 10


def fields(content: Content, start: int, end: int, where: str) -> Iterator[tuple[int, int, int, int]]:
    """(field, first byte, byte after the last, 0) for each part of a message that has a length, (field, 0, 0, value)
    for each other one."""
    place = start
    while place < end:
        tag, place = varint(content, place, end, where)
        if tag >= 2**32:
            raise GraphError(f"{where} is no ONNX graph")
        field, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            number, place = varint(content, place, end, where)
            yield field, 0, 0, number
        elif wire_type == _BYTES:
            length, place = varint(content, place, end, where)
            if length > end - place:
                raise GraphError(f"{where} is no ONNX graph")
            yield field, place, place + length, 0
            place += length
        elif wire_type in (_FIXED64, _FIXED32):
            place += 8 if wire_type == _FIXED64 else 4
            if place > end:
                raise GraphError(f"{where} is no ONNX graph")
            yield field, 0, 0, 0
        else:
            raise GraphError(f"{where} is no ONNX graph")


def varint(content: Content, place: int, end: int, where: str) -> tuple[int, int]:
    """The number that begins at a byte, and the place after it."""
    number = 0
    for count in range(min(_MOST_VARINT_BYTES, end - place)):
        byte = content[place + count]
        number |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return number, place + count + 1
    raise GraphError(f"{where} is no ONNX graph")


def prefix(number: int, length: int) -> bytes:
    """What stands before a field of so many bytes: its number with the wire type 2, and the length (protobuf's
    encoding)."""
    return written_varint(number << 3 | _BYTES) + written_varint(length)


def written_varint(value: int) -> bytes:
    """What `varint` reads."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)
