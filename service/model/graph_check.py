"""Refuses a graph that reaches outside of its own file: weights elsewhere, operators of others.

It reads the wire format of onnx.proto itself, and of it only the fields that say so: a parser of the whole would hold
all weights a second time, and serving does without onnx. What it cannot read, it refuses.
"""

from __future__ import annotations

from collections.abc import Iterator

from service.model.errors import GraphError

DOMAINS = frozenset({b"", b"ai.onnx", b"com.microsoft"})
"""Of the operators that onnxruntime itself has."""
FILE_OPERATORS = frozenset({b"EPContext"})
"""Operators of these domains that read files."""

PARTS: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 8: "OperatorSetIdProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "FunctionProto": {7: "NodeProto", 9: "OperatorSetIdProto", 11: "AttributeProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
    "OperatorSetIdProto": {},
}
"""The fields of each message that hold messages to read, by number."""
DOMAIN = {"NodeProto": 7, "FunctionProto": 10, "OperatorSetIdProto": 1}
OP_TYPE = {"NodeProto": 4}
EXTERNAL_DATA = {"TensorProto": 13}
DATA_LOCATION = {"TensorProto": 14}

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_VARINT_BYTES = 10


def check_graph(content: bytes, where: str) -> None:
    """Raises GraphError for a graph with data outside of it, with operators outside of DOMAINS, or that is none."""
    waiting = [("ModelProto", 0, len(content))]
    while waiting:
        message, start, end = waiting.pop()
        parts = PARTS[message]
        for field, first, last, number in _fields(content, start, end, where):
            if last and field in parts:
                waiting.append((parts[field], first, last))
            elif last and field == DOMAIN.get(message):
                if content[first:last] not in DOMAINS:
                    raise GraphError(f"{where} has operators of another domain than onnxruntime's own")
            elif last and field == OP_TYPE.get(message):
                if content[first:last] in FILE_OPERATORS:
                    raise GraphError(f"{where} has an operator that reads files")
            elif field == EXTERNAL_DATA.get(message) or (field == DATA_LOCATION.get(message) and number):
                raise GraphError(f"{where} has data outside of the file")


def _fields(content: bytes, start: int, end: int, where: str) -> Iterator[tuple[int, int, int, int]]:
    """(field, first byte, byte after the last, 0) for each part of a message that has a length, (field, 0, 0, value)
    for each other one."""
    place = start
    while place < end:
        tag, place = _varint(content, place, end, where)
        if tag >= 2**32:
            raise GraphError(f"{where} is no ONNX graph")
        field, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            number, place = _varint(content, place, end, where)
            yield field, 0, 0, number
        elif wire_type == _BYTES:
            length, place = _varint(content, place, end, where)
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


def _varint(content: bytes, place: int, end: int, where: str) -> tuple[int, int]:
    """The number that begins at a byte, and the place after it."""
    number = 0
    for count in range(min(_MOST_VARINT_BYTES, end - place)):
        byte = content[place + count]
        number |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return number, place + count + 1
    raise GraphError(f"{where} is no ONNX graph")
