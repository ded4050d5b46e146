"""Refuses a graph that reaches outside of its version: weights elsewhere, operators of others.

It reads the wire format of onnx.proto itself, and of it only the fields that say so: a parser of the whole would hold
all weights a second time, and serving does without onnx. What it cannot read, it refuses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from service.model.errors import GraphError
from service.model.wire import Content, fields

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
EXTERNAL_DATA, DATA_LOCATION = 13, 14
"""Of TensorProto."""
EXTERNAL = 1
"""Of TensorProto.DataLocation."""
ENTRY_KEY, ENTRY_VALUE = 1, 2
"""Of StringStringEntryProto."""
_TO_WEIGHTS = frozenset({("ModelProto", "GraphProto"), ("GraphProto", "TensorProto")})
"""The way to the initializers of the outermost graph."""
_NUMBER = re.compile(rb"[0-9]{1,18}")


@dataclass(frozen=True)
class WeightsFile:
    """The file of the version that weights may lie in, by the name that the graph has for it, and its bytes."""

    name: str
    size: int


def check_graph(content: Content, where: str, weights: WeightsFile | None = None) -> None:
    """Raises GraphError for a graph with data outside of it that are not weights in the file of weights, with operators
    outside of DOMAINS, or that is none."""
    waiting = [("ModelProto", True, 0, len(content))]
    while waiting:
        message, may_be_weight, start, end = waiting.pop()
        parts = PARTS[message]
        outside = []
        for field, first, last, number in fields(content, start, end, where):
            if last and field in parts:
                is_on_way = may_be_weight and (message, parts[field]) in _TO_WEIGHTS
                waiting.append((parts[field], is_on_way, first, last))
            elif message == "TensorProto":
                if field == EXTERNAL_DATA or (field == DATA_LOCATION and number):
                    outside.append((field, first, last, number))
            elif last:
                _check_operator(content, message, field, first, last, where)
        if outside:
            if weights is None or not may_be_weight:
                raise GraphError(f"{where} has data outside of the file")
            _check_weight(content, outside, where, weights)


def _check_operator(content: Content, message: str, field: int, first: int, last: int, where: str) -> None:
    if field == DOMAIN.get(message) and content[first:last] not in DOMAINS:
        raise GraphError(f"{where} has operators of another domain than onnxruntime's own")
    if field == OP_TYPE.get(message) and content[first:last] in FILE_OPERATORS:
        raise GraphError(f"{where} has an operator that reads files")


def _check_weight(content: Content, outside: list[tuple[int, int, int, int]], where: str, weights: WeightsFile) -> None:
    """Of one tensor whose data lie outside: whether it says so once, and they lie in the file of weights."""
    entries = [(first, last) for field, first, last, _ in outside if field == EXTERNAL_DATA]
    locations = [number for field, *_, number in outside if field == DATA_LOCATION]
    said = sorted(_entry(content, first, last, where) for first, last in entries)
    if locations != [EXTERNAL] or [key for key, _ in said] != [b"length", b"location", b"offset"]:
        raise GraphError(f"{where} does not say of a weight where it lies")
    (_, length), (_, location), (_, offset) = said
    if location != weights.name.encode():
        raise GraphError(f"{where} has data outside of the version's file of weights")
    are_numbers = all(_NUMBER.fullmatch(number) for number in (offset, length))
    if not are_numbers or int(offset) + int(length) > weights.size:
        raise GraphError(f"{where} has weights beyond the end of {weights.name}")


def _entry(content: Content, first: int, last: int, where: str) -> tuple[bytes, bytes]:
    """A key and its value; the key is empty where the message has any other fields."""
    parts = [(field, content[begin:end]) for field, begin, end, _ in fields(content, first, last, where)]
    if [field for field, _ in parts] != [ENTRY_KEY, ENTRY_VALUE]:
        return b"", b""
    return parts[0][1], parts[1][1]
