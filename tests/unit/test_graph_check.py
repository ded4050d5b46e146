"""The reader of graphs knows the fields of onnx.proto by the numbers that onnx gives them, and takes nothing broken."""

import tracemalloc
from contextlib import suppress

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from service.model import graph_check
from service.model.errors import GraphError
from service.model.graph_check import WeightsFile, check_graph
from service.model.wire import prefix


def test_the_fields_are_those_of_onnx():
    for message, parts in graph_check.PARTS.items():
        fields = getattr(onnx, message).DESCRIPTOR.fields
        held = {field.number: field.message_type.name for field in fields if field.message_type is not None}
        assert {number: held[number] for number in parts} == parts
        assert {number for number, name in held.items() if name in graph_check.PARTS} == parts.keys()
    for numbers, name in ((graph_check.DOMAIN, "domain"), (graph_check.OP_TYPE, "op_type")):
        for message, number in numbers.items():
            assert getattr(onnx, message).DESCRIPTOR.fields_by_name[name].number == number
    for message, name, number in (
        ("TensorProto", "external_data", graph_check.EXTERNAL_DATA),
        ("TensorProto", "data_location", graph_check.DATA_LOCATION),
        ("StringStringEntryProto", "key", graph_check.ENTRY_KEY),
        ("StringStringEntryProto", "value", graph_check.ENTRY_VALUE),
    ):
        assert getattr(onnx, message).DESCRIPTOR.fields_by_name[name].number == number
    assert onnx.TensorProto.EXTERNAL == graph_check.EXTERNAL


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


WEIGHTS = WeightsFile("weights.bin", 100)
WHERE = [("location", "weights.bin"), ("offset", "60"), ("length", "40")]


def weight(entries=WHERE, *, location=onnx.TensorProto.EXTERNAL):
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[10], data_location=location)
    for key, value in entries:
        tensor.external_data.add(key=key, value=value)
    return tensor


def with_weight(tensor):
    return helper.make_model(helper.make_graph([], "g", [], [], [tensor])).SerializeToString()


def test_a_weight_may_lie_in_the_file_of_weights():
    check_graph(with_weight(weight()), "it", WEIGHTS)
    check_graph(with_weight(weight(WHERE[::-1])), "it", WEIGHTS)
    check_graph(graph_of(tensor()), "it", WEIGHTS)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([("location", "other.bin"), *WHERE[1:]], "data outside of the version's file of weights"),
        ([("location", "./weights.bin"), *WHERE[1:]], "data outside of the version's file of weights"),
        ([("location", "/weights.bin"), *WHERE[1:]], "data outside of the version's file of weights"),
        ([("location", "weights.bin\0x"), *WHERE[1:]], "data outside of the version's file of weights"),
        ([WHERE[0], ("offset", "61"), WHERE[2]], "weights beyond the end of weights.bin"),
        ([WHERE[0], ("offset", "-60"), WHERE[2]], "weights beyond the end of weights.bin"),
        ([WHERE[0], ("offset", "0x1"), WHERE[2]], "weights beyond the end of weights.bin"),
        ([WHERE[0], ("offset", "9" * 5000), WHERE[2]], "weights beyond the end of weights.bin"),
        ([*WHERE[:2], ("length", "")], "weights beyond the end of weights.bin"),
        ([*WHERE, ("checksum", "1")], "does not say of a weight where it lies"),
        ([*WHERE, WHERE[0]], "does not say of a weight where it lies"),
        (WHERE[:2], "does not say of a weight where it lies"),
        ([], "does not say of a weight where it lies"),
    ],
)
def test_a_weight_that_lies_elsewhere_is_refused(entries, reason):
    with pytest.raises(GraphError, match=f"it .*{reason}"):
        check_graph(with_weight(weight(entries)), "it", WEIGHTS)


def test_only_a_weight_may_lie_there_and_only_of_a_version_that_says_so():
    with pytest.raises(GraphError, match="it has data outside of the file"):
        check_graph(with_weight(weight()), "it")
    with pytest.raises(GraphError, match="it has data outside of the file"):
        check_graph(graph_of(weight()), "it", WEIGHTS)
    branch = helper.make_graph([], "inner", [], [], [weight()])
    node = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    with pytest.raises(GraphError, match="it has data outside of the file"):
        check_graph(helper.make_model(helper.make_graph([node], "g", [], [])).SerializeToString(), "it", WEIGHTS)
    with pytest.raises(GraphError, match="does not say of a weight where it lies"):
        check_graph(with_weight(weight(location=onnx.TensorProto.DEFAULT)), "it", WEIGHTS)


def test_a_graph_as_deep_as_it_is_long_takes_no_more_memory_than_it():
    graph = b""
    for _ in range(3000):
        for number in (6, 5, 1):  # AttributeProto.g, NodeProto.attribute, GraphProto.node
            graph = prefix(number, len(graph)) + graph
    tracemalloc.start()
    check_graph(prefix(7, len(graph)) + graph, "it", WEIGHTS)
    assert tracemalloc.get_traced_memory()[1] < 10 * len(graph)
    tracemalloc.stop()
