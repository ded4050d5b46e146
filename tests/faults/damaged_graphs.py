"""Graphs that reach outside of their version, are not what the manifest says, or never end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper

from export.graph_file import say_beside
from export.weights_writer import WeightsWriter
from tests.faults.versions import Change, edit_manifest

GRAPH = "encoder.onnx"
STEP = "decoder_step.onnx"
WEIGHTS = "weights.bin"
LARGE = 1000
"""Bytes of a weight that is put beside the graphs."""


def weights_beside(folder: Path) -> None:
    """Takes the large weights out of both graphs, as of those that cannot hold them."""
    beside = WeightsWriter(folder / WEIGHTS)
    for name in (GRAPH, STEP):
        model = onnx.load(folder / name)
        for tensor in model.graph.initializer:
            if (size := len(tensor.raw_data)) >= LARGE:
                say_beside(tensor, WEIGHTS, beside.add(numpy_helper.to_array(tensor)), size)
                tensor.ClearField("raw_data")
        (folder / name).write_bytes(model.SerializeToString())
    edit_manifest(folder, weights=WEIGHTS)


def said_of_a_weight(key: str, value: str) -> Change:
    """Of the last weight that lies beside the graph: something else."""

    def change(model: onnx.ModelProto) -> None:
        tensor = [one for one in model.graph.initializer if one.external_data][-1]
        (entry,) = [one for one in tensor.external_data if one.key == key]
        entry.value = value

    return graph(change)


def graph(change: Callable[[onnx.ModelProto], None], name: str = GRAPH) -> Change:
    def apply(folder: Path) -> None:
        model = onnx.load(folder / name, load_external_data=False)
        change(model)
        (folder / name).write_bytes(model.SerializeToString())

    return apply


def _external(tensor: TensorProto, location: str = "weights.bin") -> None:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    tensor.ClearField("raw_data")


def external_weight(location: str) -> Change:
    def apply(folder: Path) -> None:
        model = onnx.load(folder / GRAPH)
        tensor = next(one for one in model.graph.initializer if one.raw_data)
        (folder / "weights.bin").write_bytes(tensor.raw_data)
        _external(tensor, location)
        (folder / GRAPH).write_bytes(model.SerializeToString())

    return apply


def _branch(*nodes: onnx.NodeProto, output: str) -> onnx.GraphProto:
    value = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    return helper.make_graph(list(nodes), "branch", [], [value])


def _add(model: onnx.ModelProto, *nodes: onnx.NodeProto) -> None:
    """Nodes that nothing depends on, at the beginning."""
    for place, node in enumerate(nodes):
        model.graph.node.insert(place, node)


def _constant(name: str, *, external: bool = False) -> onnx.NodeProto:
    tensor = helper.make_tensor(name, TensorProto.FLOAT, [1], b"\0\0\0\0", raw=True)
    if external:
        _external(tensor)
    return helper.make_node("Constant", [], [name], value=tensor)


def external_in_branch(model: onnx.ModelProto) -> None:
    condition = helper.make_node(
        "Constant", [], ["always"], value=helper.make_tensor("t", TensorProto.BOOL, [], [True])
    )
    outside = _branch(_constant("outside", external=True), output="outside")
    inside = _branch(_constant("inside"), output="inside")
    _add(model, condition, helper.make_node("If", ["always"], ["chosen"], then_branch=outside, else_branch=inside))


def foreign(model: onnx.ModelProto) -> None:
    model.opset_import.add(domain="evil", version=1)
    _add(model, helper.make_node("Run", [], ["ran"], domain="evil"))


def foreign_function(model: onnx.ModelProto) -> None:
    body = [helper.make_node("Identity", ["x"], ["y"])]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("evil", "Run", ["x"], ["y"], body, opsets))


def foreign_in_function(model: onnx.ModelProto) -> None:
    body = [helper.make_node("Run", ["x"], ["y"], domain="evil")]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("com.microsoft", "Mine", ["x"], ["y"], body, opsets))


def reads_a_file(model: onnx.ModelProto) -> None:
    _add(model, helper.make_node("EPContext", ["source_ids"], ["e"], domain="com.microsoft", ep_cache_context="../x"))


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


def another_name(model: onnx.ModelProto) -> None:
    _rename(model.graph, "source_ids", "sources")
    model.graph.input[0].name = "sources"


def another_type(model: onnx.ModelProto) -> None:
    _rename(model.graph, "source_ids", "wide")
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32
    _add(model, helper.make_node("Cast", ["source_ids"], ["wide"], to=TensorProto.INT64))


def another_rank(model: onnx.ModelProto) -> None:
    _rename(model.graph, "source_ids", "flat")
    model.graph.input[0].type.tensor_type.shape.dim.add(dim_value=1)
    axis = helper.make_node("Constant", [], ["axis"], value=helper.make_tensor("t", TensorProto.INT64, [1], [2]))
    _add(model, axis, helper.make_node("Squeeze", ["source_ids", "axis"], ["flat"]))


def _after(model: onnx.ModelProto, *nodes: onnx.NodeProto, output: str = "", operator: str = "Add") -> None:
    """Nodes that end in "nothing", a scalar; with the operator an output, the first one by default, is made of it."""
    name = output or model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = [f"{name}_before" if one == name else one for one in node.output]
    _rename(model.graph, name, f"{name}_before")
    _add(model, *nodes)
    model.graph.node.append(helper.make_node(operator, [f"{name}_before", "nothing"], [name]))


def _integer(name: str, value: int, shape: tuple[int, ...] = ()) -> onnx.NodeProto:
    tensor = helper.make_tensor(name, TensorProto.INT64, shape, [value])
    return helper.make_node("Constant", [], [name], value=tensor)


def spoiled(output: str, value: float, operator: str = "Add") -> Change:
    """A step whose output has that value added to all that it is, or another operator's."""

    def change(model: onnx.ModelProto) -> None:
        tensor = helper.make_tensor("v", TensorProto.FLOAT, [], [value])
        _after(model, helper.make_node("Constant", [], ["nothing"], value=tensor), output=output, operator=operator)

    return graph(change, STEP)


def memory_bomb(model: onnx.ModelProto) -> None:
    _after(
        model,
        _integer("much", 2**36, (1,)),
        helper.make_node("ConstantOfShape", ["much"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["nothing"], keepdims=0),
    )


def time_bomb(model: onnx.ModelProto) -> None:
    true = helper.make_tensor("t", TensorProto.BOOL, [], [True])
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["going_on"]),
            helper.make_node("Identity", ["before"], ["after"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("going_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, []),
        ],
    )
    zero = helper.make_tensor("z", TensorProto.FLOAT, [], [0.0])
    _after(
        model,
        helper.make_node("Constant", [], ["start"], value=zero),
        helper.make_node("Constant", [], ["yes"], value=true),
        helper.make_node("Loop", ["", "yes", "start"], ["nothing"], body=body),
    )
