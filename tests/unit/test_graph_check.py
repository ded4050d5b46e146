"""The reader of graphs knows the fields of onnx.proto by the numbers that onnx gives them, and takes nothing broken."""

from contextlib import suppress

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from service.model import graph_check
from service.model.errors import GraphError
from service.model.graph_check import check_graph


def test_the_fields_are_those_of_onnx():
    for message, parts in graph_check.PARTS.items():
        fields = getattr(onnx, message).DESCRIPTOR.fields
        held = {field.number: field.message_type.name for field in fields if field.message_type is not None}
        assert {number: held[number] for number in parts} == parts
        assert {number for number, name in held.items() if name in graph_check.PARTS} == parts.keys()
    for numbers, name in (
        (graph_check.DOMAIN, "domain"),
        (graph_check.OP_TYPE, "op_type"),
        (graph_check.EXTERNAL_DATA, "external_data"),
        (graph_check.DATA_LOCATION, "data_location"),
    ):
        for message, number in numbers.items():
            assert getattr(onnx, message).DESCRIPTOR.fields_by_name[name].number == number


def graph_of(tensor):
    node = helper.make_node("Constant", [], ["x"], value=tensor)
    return helper.make_model(helper.make_graph([node], "g", [], [])).SerializeToString()


def tensor():
    return helper.make_tensor("x", onnx.TensorProto.FLOAT, [1], b"\0\0\0\0", raw=True)


def test_a_graph_of_its_own_data_passes():
    check_graph(graph_of(tensor()), "it")


def test_data_elsewhere_is_found_even_where_a_later_field_denies_it():
    outside = tensor()
    outside.data_location = onnx.TensorProto.EXTERNAL
    said_twice = outside.SerializeToString() + bytes([14 << 3, 0])
    assert onnx.TensorProto.FromString(said_twice).data_location == onnx.TensorProto.DEFAULT
    for content in (outside.SerializeToString(), said_twice):
        attribute = onnx.AttributeProto(name="value", type=onnx.AttributeProto.TENSOR).SerializeToString()
        attribute += bytes([5 << 3 | 2, len(content)]) + content
        node = bytes([5 << 3 | 2, len(attribute)]) + attribute
        graph = bytes([1 << 3 | 2, len(node)]) + node
        with pytest.raises(GraphError, match="it has data outside of the file"):
            check_graph(bytes([7 << 3 | 2, len(graph)]) + graph, "it")


@given(cut=st.integers(1, 40), noise=st.binary(max_size=12))
def test_whatever_is_read_it_is_a_graph_or_refused(cut, noise):
    content = graph_of(tensor())
    for broken in (content[:-cut], content[:-cut] + noise, noise):
        with suppress(GraphError):
            check_graph(broken, "it")


@pytest.mark.parametrize(
    "broken", [b"\x3a", b"\x3a\xff", b"\x3a\x7f", b"\xff" * 11, b"\x3b", b"\x3f", b"\x39\0", b"\x3d"]
)
def test_a_field_that_is_cut_off_or_of_no_kind_is_refused(broken):
    with pytest.raises(GraphError, match="no ONNX graph"):
        check_graph(broken, "it")
