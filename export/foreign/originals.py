"""Reads a foreign graph whole: one file, nothing outside of it, no operators but onnxruntime's own. It runs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import external_data_helper, inliner

from export.errors import ForeignError
from service.model.errors import GraphError
from service.model.graph_check import DOMAINS, check_graph
from service.model.manifest import MAX_FILE_BYTES

QUANTIZED = frozenset({"DynamicQuantizeLinear", "MatMulInteger", "MatMulNBits", "QLinearMatMul", "QuantizeLinear"})
"""Operators of graphs that compute in 8 bits, or less."""
_DOMAINS = {domain.decode() for domain in DOMAINS}


@dataclass(frozen=True)
class Original:
    """A graph in one piece, and whether it computes in 8 bits."""

    content: bytes
    is_quantized: bool


def read_graph(path: Path) -> Original:
    """The graph in PATH, byte for byte, or with the data of the files beside it and its own functions put into it,
    where it has any. Raises ForeignError, which names what is wrong."""
    content, model = _read(path)
    outside = [tensor for tensor in _tensors(model.graph) if external_data_helper.uses_external_data(tensor)]
    for tensor in outside:
        _take_in(tensor, path)
    has_functions = bool(model.functions)
    if has_functions:
        model = inliner.inline_local_functions(model)
    for node in _nodes(model.graph):
        if node.domain not in _DOMAINS:
            raise ForeignError(
                f"{path}: the operator {node.op_type} is of the domain {node.domain!r}, not onnxruntime's"
            )
    unused = [opset for opset in model.opset_import if opset.domain not in _DOMAINS]
    for opset in unused:
        model.opset_import.remove(opset)
    if outside or has_functions or unused:
        if model.ByteSize() > MAX_FILE_BYTES:
            raise ForeignError(f"{path}: with its data it has more than the 2 GB that one ONNX file can hold")
        content = model.SerializeToString(deterministic=True)
    try:
        check_graph(content, str(path))
    except GraphError as error:
        raise ForeignError(str(error)) from error
    return Original(content, any(node.op_type in QUANTIZED for node in _nodes(model.graph)))


def _read(path: Path) -> tuple[bytes, onnx.ModelProto]:
    try:
        content = path.read_bytes()
        return content, onnx.load_from_string(content)
    except OSError as error:
        raise ForeignError(f"{path} cannot be read: {error.strerror}") from error
    except DecodeError as error:
        raise ForeignError(f"{path} is no ONNX graph, or is cut short") from error


def _take_in(tensor: onnx.TensorProto, graph: Path) -> None:
    """Data beside a graph, into it; raises ForeignError where it lies elsewhere, or is not all there."""
    info = external_data_helper.ExternalDataInfo(tensor)
    folder = graph.parent.resolve()
    file = (folder / info.location).resolve()
    if not file.is_relative_to(folder):
        raise ForeignError(
            f"{graph}: the data of {tensor.name} lies in {info.location!r}, outside of the graph's folder"
        )
    try:
        with file.open("rb") as opened:
            opened.seek(info.offset or 0)
            data = opened.read(-1 if info.length is None else info.length)
    except OSError as error:
        raise ForeignError(f"{graph}: {info.location} with the data of {tensor.name}: {error.strerror}") from error
    if info.length is not None and len(data) < info.length:
        raise ForeignError(f"{graph}: {info.location} is cut short: {tensor.name} is not all there")
    tensor.raw_data = data
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of graphs inside of nodes too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _nodes(inner)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """All stored tensors, those of nodes and inner graphs too."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _tensors(inner)
