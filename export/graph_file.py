"""Writes an ONNX graph without a second copy of its weights: each goes from where it lies to the graph's own file, or,
where that cannot hold them, to a file beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import onnx
import onnx_ir as ir

from export.weights_writer import WeightsWriter
from service.model.file_record import MAX_FILE_BYTES
from service.model.wire import prefix

SMALLEST_STREAMED = 2**16
"""Bytes of a weight that never comes into the message."""
GRAPH, INITIALIZER, RAW_DATA = 7, 5, 9
"""Numbers of ModelProto.graph, GraphProto.initializer and TensorProto.raw_data (onnx.proto)."""
_Message = TypeVar("_Message", onnx.ModelProto, onnx.GraphProto)


def write_graph(path: Path, model: ir.Model, beside: WeightsWriter) -> None:
    """PATH gets the bytes of a deterministic serialization: fields in the order of their numbers. Of a graph that would
    have more than MAX_FILE_BYTES of them, `beside` has the large weights. MODEL loses its weights."""
    weights = _take_weights(model)
    message = ir.serde.serialize_model(model)
    before, after = _around(message, GRAPH)
    nodes, rest = _around(message.graph, INITIALIZER)
    heads = [_head(tensor, weights.get(tensor.name)) for tensor in message.graph.initializer]
    sizes = [len(head) + (0 if weight is None else weight.nbytes) for head, weight in heads]
    length = len(nodes) + sum(len(prefix(INITIALIZER, size)) + size for size in sizes) + len(rest)
    start = before + prefix(GRAPH, length) + nodes
    if len(start) + length - len(nodes) + len(after) > MAX_FILE_BYTES:
        _put_beside(message.graph, weights, beside)
        path.write_bytes(message.SerializeToString(deterministic=True))
        return
    with path.open("wb") as file:
        file.write(start)
        for (head, weight), size in zip(heads, sizes, strict=True):
            file.write(prefix(INITIALIZER, size) + head)
            if weight is not None:
                weight.tofile(file)
        file.write(rest + after)


def say_beside(tensor: onnx.TensorProto, name: str, place: int, length: int) -> None:
    """Of a tensor: its data are so many bytes of the file NAME, from a place on."""
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", name), ("offset", str(place)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)


def _put_beside(graph: onnx.GraphProto, weights: Mapping[str, Any], beside: WeightsWriter) -> None:
    for tensor in graph.initializer:
        if (weight := weights.get(tensor.name)) is not None:
            del tensor.external_data[:]
            say_beside(tensor, beside.path.name, beside.add(weight.numpy()), weight.nbytes)


def _take_weights(model: ir.Model) -> dict[str, Any]:
    """What is large, by its name; in its place the model names a file that does not exist."""
    weights: dict[str, Any] = {}
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is not None and tensor.nbytes >= SMALLEST_STREAMED:
            weights[name] = tensor
            value.const_value = ir.ExternalTensor(
                "-", 0, 0, tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=name
            )
    return weights


def _head(tensor: onnx.TensorProto, weight: Any | None) -> tuple[bytes, Any | None]:
    """What comes before the data of a tensor that is streamed; all of any other one."""
    if weight is None:
        return tensor.SerializeToString(deterministic=True), None
    head = onnx.TensorProto()
    head.CopyFrom(tensor)
    for field in ("external_data", "data_location"):
        head.ClearField(field)
    return head.SerializeToString(deterministic=True) + prefix(RAW_DATA, weight.nbytes), weight


def _around(message: _Message, number: int) -> tuple[bytes, bytes]:
    """The serialized fields before one and after it."""
    parts = []
    for is_before in (True, False):
        part = type(message)()
        part.CopyFrom(message)
        for field, _ in message.ListFields():
            if field.number == number or (field.number < number) != is_before:
                part.ClearField(field.name)
        parts.append(part.SerializeToString(deterministic=True))
    return parts[0], parts[1]
