"""The graphs that move rows on a device are what is written here; `python -m tests.unit.export.test_device_graphs`
writes them again."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from service.model.device import GRAPHS, Device
from service.model.memory import HOST, on_host

GATHER = (
    helper.make_node("Gather", ["data", "rows"], ["gathered"], axis=0),
    (("data", TensorProto.FLOAT, ["from", "size"]), ("rows", TensorProto.INT64, ["to"])),
    ("gathered", TensorProto.FLOAT, ["to", "size"]),
)
PAD = (
    helper.make_node("Pad", ["data", "pads"], ["padded"]),
    (("data", TensorProto.FLOAT, ["rows", "from"]), ("pads", TensorProto.INT64, [4])),
    ("padded", TensorProto.FLOAT, ["rows", "to"]),
)
NODES = {"gather_rows": GATHER, "pad_rows": PAD}


def make_graph(name: str) -> bytes:
    node, inputs, output = NODES[name]
    values = [helper.make_tensor_value_info(*value) for value in inputs]
    graph = helper.make_graph([node], name, values, [helper.make_tensor_value_info(*output)])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


@pytest.mark.parametrize("name", NODES)
def test_a_committed_graph_is_the_one_that_is_made(name: str) -> None:
    assert (GRAPHS / f"{name}.onnx").read_bytes() == make_graph(name)
    assert sorted(path.stem for path in GRAPHS.iterdir()) == sorted(NODES)


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("rows", [[0], [3, 3, 1], [0, 1, 2, 3, 4]])
def test_rows_are_gathered(rows: list[int]) -> None:
    device, source = Device(HOST), numbers(5, 2, 3)
    target = device.zeros((7, 2, 3))
    device.gather(on_host(source), np.array(rows), target.rows(1, 1 + len(rows)))
    expected = np.zeros((7, 2, 3), np.float32)
    expected[1 : 1 + len(rows)] = source[rows]
    np.testing.assert_array_equal(device.read(target), expected)


@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 4, 9])
def test_an_axis_is_cut_or_continued_by_zeros(axis: int, size: int) -> None:
    device, source = Device(HOST), numbers(3, 4, 4, 4)
    shape = list(source.shape)
    shape[axis] = size
    target = device.empty(tuple(shape))
    device.fit(on_host(source), axis, target)
    expected = np.zeros(shape, np.float32)
    both = tuple(slice(min(sizes)) for sizes in zip(shape, source.shape, strict=True))
    expected[both] = source[both]
    np.testing.assert_array_equal(device.read(target), expected)


if __name__ == "__main__":
    for graph_name in NODES:
        (GRAPHS / f"{graph_name}.onnx").write_bytes(make_graph(graph_name))
