"""Reads a foreign graph whole: nothing outside of it but weights that one file cannot hold, no operators but
onnxruntime's own. It runs nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import external_data_helper, inliner

from export.errors import ForeignError
from export.graph_file import SMALLEST_STREAMED, say_beside
from export.version_files import WEIGHTS_FILE
from export.weights_writer import aligned
from service.model.errors import GraphError
from service.model.file_record import MAX_FILE_BYTES
from service.model.graph_check import DOMAINS, WeightsFile, check_graph

QUANTIZED = frozenset({"DynamicQuantizeLinear", "MatMulInteger", "MatMulNBits", "QLinearMatMul", "QuantizeLinear"})
"""Operators of graphs that compute in 8 bits, or less."""
_DOMAINS = {domain.decode() for domain in DOMAINS}


@dataclass(frozen=True)
class Original:
    """A graph, the weights that lie beside it by their places in the file of weights, and whether it computes in 8
    bits."""

    content: bytes
    beside: tuple[tuple[int, bytes], ...]
    is_quantized: bool

    @property
    def end(self) -> int:
        """Of its weights in the file of weights."""
        return max((place + len(weight) for place, weight in self.beside), default=0)


def read_graph(path: Path, *, first: int = 0) -> Original:
    """The graph in PATH, byte for byte, or with the data of the files beside it and its own functions put into it,
    where it has any. Where one file cannot hold that, large weights lie in the file of weights, from byte `first` on.
    Raises ForeignError, which names what is wrong."""
    content, model = _read(path)
    has_functions = bool(model.functions)
    if has_functions:
        model = inliner.inline_local_functions(model)
    for node in _nodes(model.graph):
        if node.domain not in _DOMAINS:
            raise ForeignError(
                f"{path}: the operator {node.op_type} is of the domain {node.domain!r}, not onnxruntime's"
            )
    outside = [tensor for tensor in _tensors(model.graph) if external_data_helper.uses_external_data(tensor)]
    beside = _take_in(outside, model, path, first)
    unused = [opset for opset in model.opset_import if opset.domain not in _DOMAINS]
    for opset in unused:
        model.opset_import.remove(opset)
    if outside or has_functions or unused:
        content = model.SerializeToString(deterministic=True)
    is_quantized = any(node.op_type in QUANTIZED for node in _nodes(model.graph))
    original = Original(content, tuple(beside), is_quantized)
    try:
        check_graph(content, str(path), WeightsFile(WEIGHTS_FILE, original.end) if beside else None)
    except GraphError as error:
        raise ForeignError(str(error)) from error
    return original


def write_beside(path: Path, originals: Sequence[Original]) -> None:
    """Make the file of weights of graphs that have some beside them."""
    beside = [one for original in originals for one in original.beside]
    if beside:
        with path.open("xb") as file:
            for place, weight in beside:
                file.seek(place)
                file.write(weight)


def _read(path: Path) -> tuple[bytes, onnx.ModelProto]:
    try:
        content = path.read_bytes()
        return content, onnx.load_from_string(content)
    except OSError as error:
        raise ForeignError(f"{path} cannot be read: {error.strerror}") from error
    except DecodeError as error:
        raise ForeignError(f"{path} is no ONNX graph, or is cut short") from error


def _take_in(
    outside: Sequence[onnx.TensorProto], model: onnx.ModelProto, path: Path, first: int
) -> list[tuple[int, bytes]]:
    """Data outside of a graph, into it; or what is large of them, where that would be more than one file holds, for the
    file of weights, which the graph is told of."""
    data = [_data(tensor, path) for tensor in outside]
    is_whole = model.ByteSize() + sum(map(len, data)) <= MAX_FILE_BYTES
    num_weights = sum(map(external_data_helper.uses_external_data, model.graph.initializer))  # the first ones
    beside, place = [], first
    for number, (tensor, content) in enumerate(zip(outside, data, strict=True)):
        del tensor.external_data[:]
        if is_whole or number >= num_weights or len(content) < SMALLEST_STREAMED:
            tensor.raw_data = content
            tensor.data_location = onnx.TensorProto.DEFAULT
            continue
        place = aligned(place)
        say_beside(tensor, WEIGHTS_FILE, place, len(content))
        beside.append((place, content))
        place += len(content)
    if model.ByteSize() > MAX_FILE_BYTES:
        raise ForeignError(f"{path}: with its data it has more than the 2 GB that one ONNX file can hold")
    return beside


def _data(tensor: onnx.TensorProto, graph: Path) -> bytes:
    """What lies beside a graph; raises ForeignError where it lies elsewhere, or is not all there."""
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
    return data


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
