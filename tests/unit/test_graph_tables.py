"""Tables are found in graphs as exporters write them, and what is written without them says all else as before."""

from contextlib import suppress

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from service.model import graph_tables
from service.model.errors import GraphError
from service.model.graph_tables import find_tables, write_without
from service.model.private_file import in_memory, mapped, private_file
from service.model.wire import prefix


@pytest.fixture(autouse=True)
def _small_ones_count(monkeypatch):
    monkeypatch.setattr(graph_tables, "SMALLEST", 256)


def table(name="table", rows=30, dtype=np.float32):
    return numpy_helper.from_array(np.arange(rows * 4, dtype=dtype).reshape(rows, 4), name)


def of_shape(shape, doc_string=""):
    made = numpy_helper.from_array(np.zeros(shape, np.float32), "table")
    made.doc_string = doc_string
    return made


def model_of(initializers, nodes=None, inputs=()):
    nodes = [helper.make_node("Gather", ["table", "ids"], ["x"])] if nodes is None else nodes
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])
    found = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    return helper.make_model(helper.make_graph(nodes, "g", [ids, *inputs], [found], initializers))


def names_in(content):
    found = find_tables(content, "it")
    return [] if found is None else [one.name for one in found.tables]


def test_the_fields_are_those_of_onnx():
    for message, names in (
        (onnx.ModelProto, ["GRAPH"]),
        (onnx.GraphProto, ["NODE", "INITIALIZER", "INPUT"]),
        (onnx.NodeProto, ["OP_TYPE"]),
        (TensorProto, ["DIMS", "DATA_TYPE", "NAME", "RAW_DATA", "DOC_STRING", "EXTERNAL_DATA", "DATA_LOCATION"]),
    ):
        fields = message.DESCRIPTOR.fields_by_name
        assert [fields[name.lower()].number for name in names] == [getattr(graph_tables, name) for name in names]
    assert onnx.NodeProto.DESCRIPTOR.fields_by_name["input"].number == graph_tables.NODE_INPUT
    assert onnx.ValueInfoProto.DESCRIPTOR.fields_by_name["name"].number == graph_tables.INPUT_NAME
    entry = onnx.StringStringEntryProto.DESCRIPTOR.fields_by_name
    assert (entry["key"].number, entry["value"].number) == (graph_tables.ENTRY_KEY, graph_tables.ENTRY_VALUE)
    assert (TensorProto.EXTERNAL, TensorProto.FLOAT) == (graph_tables.EXTERNAL, graph_tables.FLOAT)


def test_what_rows_are_looked_up_in_is_a_table():
    content = model_of([table("other"), table(), table("small", rows=2)]).SerializeToString()
    (found,) = find_tables(content, "it").tables
    assert (found.name, found.shape) == ("table", (30, 4))
    assert content[found.data.first : found.data.last] == np.arange(120, dtype=np.float32).tobytes()


@pytest.mark.parametrize(
    "model",
    [
        model_of([table()], nodes=[helper.make_node("Identity", ["table"], ["x"])]),
        model_of([table(), table("ids")], nodes=[helper.make_node("Gather", ["y", "table"], ["x"])]),
        model_of([table(dtype=np.int32)]),
        model_of([table(), table()]),
        model_of([table(rows=3)]),
        model_of([helper.make_tensor("table", TensorProto.FLOAT, [80, 4], [0.5] * 320)]),
        model_of([table()], inputs=[helper.make_tensor_value_info("table", TensorProto.FLOAT, [30, 4])]),
        model_of([of_shape([40] + [1] * 60)]),
        model_of([of_shape([0, 4], "x" * 1000)]),
    ],
    ids=[
        "not looked up",
        "indices",
        "integers",
        "twice",
        "small",
        "not in one piece",
        "can be given",
        "many axes",
        "a long text",
    ],
)
def test_anything_else_is_none(model):
    assert names_in(model.SerializeToString()) == []


def test_a_table_of_another_size_than_its_shape_is_none():
    wrong = table()
    wrong.dims[0] = 31
    assert names_in(model_of([wrong]).SerializeToString()) == []


def test_a_graph_in_two_parts_or_with_a_long_length_is_left_as_it_is():
    graph = model_of([table()]).graph.SerializeToString()
    assert names_in(prefix(7, len(graph)) + graph) == ["table"]
    assert names_in(prefix(7, len(graph)) + graph + prefix(7, 0)) == []
    long = prefix(7, len(graph))
    long = long[:-1] + bytes([long[-1] | 0x80, 0])
    assert onnx.ModelProto.FromString(long + graph).graph == model_of([table()]).graph
    assert names_in(long + graph) == []


def test_only_the_data_are_not_written(tmp_path):
    model = model_of([table("other"), table(), table("second"), table("last")])
    model.graph.node.append(helper.make_node("Gather", ["second", "ids"], ["y"]))
    model.doc_string, model.graph.initializer[1].doc_string = "after the graph", "of a table"
    content = model.SerializeToString()
    with in_memory("graph", content) as source, private_file("rest", tmp_path) as rest, mapped(source) as read:
        write_without(find_tables(read, "it"), read, source, rest)
        with mapped(rest) as written:
            found = onnx.ModelProto.FromString(written[:])
    for one in model.graph.initializer[1:3]:
        size = len(one.raw_data)
        one.ClearField("raw_data")
        one.data_location = TensorProto.EXTERNAL
        for key, value in {"location": "null", "offset": "0", "length": str(size)}.items():
            one.external_data.add(key=key, value=value)
    assert found == model


@given(cut=st.integers(0, 600), noise=st.binary(max_size=12))
def test_whatever_is_read_it_is_a_graph_or_refused(cut, noise):
    content = model_of([table(rows=20)]).SerializeToString()
    with suppress(GraphError):
        find_tables(content[:cut] + noise + content[cut:], "it")
