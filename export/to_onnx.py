"""Turns a graph module into an ONNX file with named, dynamic axes. It knows nothing of models."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnxscript import optimizer

from export.graphs import DecoderStepGraph, EncoderGraph

OPSET = 21
LARGEST = 2**28
"""Elements of a constant that is still computed once and for all, such as weights in another order."""


def to_onnx(graph: EncoderGraph | DecoderStepGraph) -> onnx.ModelProto:
    """Export through torch.export, check the result against the ONNX specification, return it in memory."""
    model = ir.serde.serialize_model(to_graph(graph))
    onnx.checker.check_model(model)
    return model


@torch.no_grad()
def to_graph(graph: EncoderGraph | DecoderStepGraph) -> ir.Model:
    """Export through torch.export. Weights that the graph has as the model has them are the model's own memory."""
    dims = {name: torch.export.Dim(name, min=1) for name in ("source_length", "capacity")}
    dims["batch"] = torch.export.Dim("batch", min=1)
    shapes = tuple({axis: dims[name] for axis, name in axes.items()} for axes in graph.input_axes)
    dynamic_shapes = shapes if isinstance(graph, EncoderGraph) else (*shapes[:3], shapes[3:])
    with _without_exporter_chatter():
        program = torch.onnx.export(
            graph.eval(),
            graph.example_inputs(),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(graph.input_names),
            output_names=list(graph.output_names),
            dynamic_shapes=dynamic_shapes,
            external_data=False,
            verbose=False,
        )
        assert program is not None
        turn_when_written(program.model.graph)
        model: ir.Model = optimizer.optimize(program.model, input_size_limit=LARGEST, output_size_limit=LARGEST)
    model.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
    return model


def turn_when_written(graph: ir.Graph) -> None:
    """Weights in another order take the place of the operators that turn them. They are made one by one as they are
    written: the optimizer would keep them all in memory, beside the model's own."""
    for node in list(graph):
        source = node.inputs[0] if node.op_type == "Transpose" and node.domain == "" else None
        if source is None or source.const_value is None or not source.is_initializer():
            continue
        (value,) = node.outputs
        tensor = _turned(source.const_value, node.attributes["perm"].as_ints())
        turned = ir.Value(name=value.name, type=value.type, shape=tensor.shape, const_value=tensor)
        ir.convenience.replace_all_uses_with(value, turned)
        graph.remove(node, safe=True)
        graph.register_initializer(turned)


def _turned(tensor: ir.TensorProtocol, order: Sequence[int]) -> ir.LazyTensor:
    def make() -> ir.TensorProtocol:
        return ir.Tensor(np.ascontiguousarray(tensor.numpy().transpose(order)))

    shape = tensor.shape.numpy()
    return ir.LazyTensor(make, tensor.dtype, ir.Shape([shape[axis] for axis in order]))


@contextmanager
def _without_exporter_chatter() -> Iterator[None]:
    """Hide what the exporter reports of every graph and nobody can act on; anything else still shows."""
    loggers = [logging.getLogger(name) for name in _CHATTER]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", message="# The axis name: .* will not be used", category=UserWarning)
        for logger in loggers:
            logger.addFilter(_is_worth_reading)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeFilter(_is_worth_reading)


def _is_worth_reading(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_CHATTER[record.name])


_CHATTER = {
    "torch.onnx._internal.exporter._registration": "torchvision is not installed",
}
"""Logger by logger, how the messages begin."""
