"""Refuses a graph that reaches outside of its own file: weights elsewhere, operators of others.

It reads the wire format of onnx.proto itself, and of it only the fields that say so: a parser of the whole would hold
all weights a second time, and serving does without onnx. What it cannot read, it refuses.
"""

from __future__ import annotations

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
EXTERNAL_DATA = {"TensorProto": 13}
DATA_LOCATION = {"TensorProto": 14}


def check_graph(content: Content, where: str) -> None:
    """Raises GraphError for a graph with data outside of it, with operators outside of DOMAINS, or that is none."""
    waiting = [("ModelProto", 0, len(content))]
    while waiting:
        message, start, end = waiting.pop()
        parts = PARTS[message]
        for field, first, last, number in fields(content, start, end, where):
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
