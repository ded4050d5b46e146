"""A graph that is written weight by weight is the file that a serialization of all of it would give."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from export import bundle, graph_file
from export.bundle import Graphs, read_graphs, write_float32, write_graphs
from export.errors import PublishError
from export.graph_file import write_graph
from export.graphs import EncoderGraph
from export.to_onnx import to_graph, to_onnx, turn_when_written
from export.version_files import DECODER_STEP_FILE, ENCODER_FILE
from export.weights_writer import ALIGNMENT, WeightsWriter
from service.model.wire import prefix


@pytest.mark.parametrize("smallest", [1, 4096, 2**40], ids=["every weight", "some", "none"])
def test_it_has_the_bytes_of_a_serialization(smallest, make_tiny, tmp_path, monkeypatch):
    graph = EncoderGraph(make_tiny("transformer").model)
    monkeypatch.setattr(graph_file, "SMALLEST_STREAMED", smallest)
    write_graph(tmp_path / "encoder.onnx", to_graph(graph), WeightsWriter(tmp_path / "weights.bin"))
    assert (tmp_path / "encoder.onnx").read_bytes() == to_onnx(graph).SerializeToString(deterministic=True)
    assert not (tmp_path / "weights.bin").exists()


def test_weights_lie_in_the_graph_where_the_model_has_them(make_tiny):
    model = make_tiny("transformer").model
    weights = [value.const_value.raw for value in to_graph(EncoderGraph(model)).graph.initializers.values()]
    addresses = {raw.data_ptr() for raw in weights if isinstance(raw, torch.Tensor)}
    assert model.embedding.weight.data_ptr() in addresses


def test_weights_in_another_order_are_made_when_they_are_written(tmp_path):
    """Every weight that is turned, and nothing else: not what a run makes."""
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["batch", 3]))
    w = ir.Value(name="w", shape=ir.Shape([2, 3]), const_value=ir.Tensor(weight))
    turned, rows = ir.node("Transpose", [w], {"perm": [1, 0]}), ir.node("Transpose", [x], {"perm": [1, 0]})
    product = ir.node("MatMul", [x, turned.outputs[0]])
    for node, name in ((turned, "wt"), (rows, "xt"), (product, "y")):
        node.outputs[0].name = name
    outputs = [*product.outputs, *rows.outputs]
    graph = ir.Graph([x], outputs, nodes=[turned, rows, product], initializers=[w], name="g", opset_imports={"": 21})
    turn_when_written(graph)
    assert isinstance(graph.initializers["wt"].const_value, ir.LazyTensor)
    assert [node.op_type for node in graph] == ["Transpose", "MatMul"]
    write_graph(tmp_path / "g.onnx", ir.Model(graph, ir_version=10), WeightsWriter(tmp_path / "weights.bin"))
    written = {one.name: one for one in onnx.load(tmp_path / "g.onnx").graph.initializer}
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(written["wt"]), weight.T)


def test_both_graphs_are_written_and_read_again(make_tiny, tmp_path):
    tiny = make_tiny("post_norm")
    write_float32(tmp_path / "version", tiny.model, {"vocabulary.model": b"pieces"})
    graphs = read_graphs(tmp_path / "version", tiny.model.state_specs, tiny.model.vocabulary_size)
    for name, graph, wanted in (
        (ENCODER_FILE, graphs.encoder, tiny.graphs.encoder),
        (DECODER_STEP_FILE, graphs.decoder_step, tiny.graphs.decoder_step),
    ):
        onnx.checker.check_model(tmp_path / "version" / name)
        assert graph.SerializeToString(deterministic=True) == wanted.SerializeToString(deterministic=True)
    assert (tmp_path / "version" / "vocabulary.model").read_bytes() == b"pieces"


@pytest.mark.parametrize("length", [1, 127, 128, 300, 2**15])
def test_what_stands_before_data_is_as_protobuf_has_it(length):
    whole = onnx.TensorProto(raw_data=b"x" * length).SerializeToString()
    assert whole == prefix(graph_file.RAW_DATA, length) + b"x" * length


def test_a_graph_of_another_exporter_is_written_too(tmp_path):
    value = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([2]))
    node = ir.node("Identity", [value])
    node.outputs[0].name = "y"
    graph = ir.Graph([value], node.outputs, nodes=[node], name="g", opset_imports={"": 21})
    write_graph(tmp_path / "g.onnx", ir.Model(graph, ir_version=10), WeightsWriter(tmp_path / "weights.bin"))
    assert onnx.load(tmp_path / "g.onnx").graph.node[0].op_type == "Identity"


def products(*weights):
    """A graph of the products of a row with matrices, one after another."""
    floats = ir.TensorType(ir.DataType.FLOAT)
    source = x = ir.Value(name="x", type=floats, shape=ir.Shape(["batch", len(weights[0])]))
    nodes, initializers = [], []
    for number, weight in enumerate(weights):
        shape = ir.Shape(weight.shape)
        matrix = ir.Value(name=f"w{number}", type=floats, shape=shape, const_value=ir.Tensor(weight))
        product = ir.Value(name=f"y{number}", type=floats, shape=ir.Shape(["batch", weight.shape[1]]))
        nodes.append(ir.Node("", "MatMul", [x, matrix], outputs=[product]))
        initializers.append(matrix)
        x = product
    graph = ir.Graph([source], [x], nodes=nodes, initializers=initializers, name="g", opset_imports={"": 21})
    return ir.Model(graph, ir_version=10)


def test_weights_lie_beside_graphs_that_cannot_hold_them_and_only_there(tmp_path, monkeypatch):
    """At the very byte. Graphs have one file, and what several have is in it once."""
    monkeypatch.setattr(graph_file, "SMALLEST_STREAMED", 1000)
    rng = np.random.default_rng(0)
    shared, other, small, mine = (
        rng.standard_normal(shape, np.float32) for shape in ((70, 70), (70, 20), (20, 3), (70, 50))
    )
    first, second = (shared, other, small), (shared, mine)
    beside = WeightsWriter(tmp_path / "weights.bin")
    write_graph(tmp_path / "whole", products(*first), beside)
    size = (tmp_path / "whole").stat().st_size
    monkeypatch.setattr(graph_file, "MAX_FILE_BYTES", size)
    write_graph(tmp_path / "fits", products(*first), beside)
    assert (tmp_path / "fits").read_bytes() == (tmp_path / "whole").read_bytes()
    assert not beside.path.exists()
    monkeypatch.setattr(graph_file, "MAX_FILE_BYTES", size - 1)
    write_graph(tmp_path / "first", products(*first), beside)
    write_graph(tmp_path / "second", products(*second), beside)
    content = beside.path.read_bytes()
    places = {}
    for name, weights in (("first", first), ("second", second)):
        onnx.checker.check_model(tmp_path / name)
        for tensor, weight in zip(onnx.load(tmp_path / name).graph.initializer, weights, strict=True):
            np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), weight)
        for tensor in onnx.load(tmp_path / name, load_external_data=False).graph.initializer:
            said = {entry.key: entry.value for entry in tensor.external_data}
            if tensor.name == "w2":
                assert said == {}
                continue
            assert said["location"] == "weights.bin"
            places[name, tensor.name] = int(said["offset"])
    assert places == {("first", "w0"): 0, ("first", "w1"): 20480, ("second", "w0"): 0, ("second", "w1"): 28672}
    assert all(place % ALIGNMENT == 0 for place in places.values())
    assert len(content) == 28672 + mine.nbytes


def test_a_graph_in_8_bits_that_one_file_cannot_hold_is_refused_by_name(tmp_path, monkeypatch):
    model = ir.serde.serialize_model(products(np.ones((30, 30), np.float32)))
    monkeypatch.setattr(bundle, "MAX_FILE_BYTES", 3599)
    with pytest.raises(PublishError, match=r"encoder.onnx has 0\.0 GB of weights in int8; one file holds 0\.0"):
        write_graphs(tmp_path / "version", Graphs(model, model, "int8", (), 30), {})
