"""The 8-bit form: ranges that anyone measures alike, constants for scales, and results near float32's."""

from collections import Counter
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from export.calibrate import measure_ranges, outwards
from export.errors import QuantizationError
from export.quantize import Range, multiplied, quantize, quantize_columns
from export.trace import make_rows, random_sources, trace_onnx


def integer_product(integers):
    """rows -> rows @ integers, as onnxruntime computes it."""
    num_inputs, num_outputs = integers.shape
    node = helper.make_node("MatMulInteger", ["rows", "integers", "zero"], ["sums"])
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("rows", TensorProto.UINT8, [None, num_inputs])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, [None, num_outputs])],
        [numpy_helper.from_array(integers, "integers"), numpy_helper.from_array(np.uint8(0), "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return lambda rows: session.run(None, {"rows": rows})[0]


def measure(graphs):
    return measure_ranges(graphs.encoder, graphs.decoder_step, graphs.states, graphs.vocabulary_size)


def test_every_activation_that_is_multiplied_has_a_range_with_zero_inside_the_same_each_time(tiny):
    first, again = measure(tiny.graphs), measure(tiny.graphs)
    assert first == again
    assert first.encoder.keys() == set(multiplied(tiny.graphs.encoder))
    assert first.decoder_step.keys() == set(multiplied(tiny.graphs.decoder_step))
    for ranges in (first.encoder, first.decoder_step):
        assert all(one.low <= 0.0 <= one.high and one.low < one.high for one in ranges.values())


def test_scales_and_zero_points_of_activations_are_constants(tiny):
    graphs = tiny.graphs.quantized()
    for graph in (graphs.encoder.graph, graphs.decoder_step.graph):
        constants = {tensor.name for tensor in graph.initializer}
        rounded = [node for node in graph.node if node.op_type == "QuantizeLinear"]
        products = [node for node in graph.node if node.op_type in ("MatMulIntegerToFloat", "QGemm")]
        assert products
        assert all(set(node.input[1:]) <= constants for node in rounded)


def test_what_lies_beyond_a_range_is_cut_off(gru, load_graphs):
    """With ranges of a tenth the results are others, and still numbers."""
    ranges = measure(gru.graphs)
    narrow = {name: Range(one.low / 10, one.high / 10) for name, one in ranges.decoder_step.items()}
    cut = replace(
        gru.graphs,
        encoder=quantize(gru.graphs.encoder, ranges.encoder),
        decoder_step=quantize(gru.graphs.decoder_step, narrow),
        precision="int8",
    )
    rows = make_rows(random_sources(4, 9, 40, 1), 16, 6, 40, 1)
    whole = list(trace_onnx(load_graphs(gru, gru.graphs.quantized()), rows))
    for (_, mine), (_, theirs) in zip(trace_onnx(load_graphs(gru, cut), rows), whole, strict=True):
        assert np.isfinite(mine["logits"]).all()
        assert not np.array_equal(mine["logits"], theirs["logits"])


def test_results_are_near_those_of_float32(tiny, float32, int8):
    rows = make_rows(random_sources(8, 12, 40, 2), 16, 8, 40, 2)
    for (_, wanted), (_, found) in zip(trace_onnx(float32, rows), trace_onnx(int8, rows), strict=True):
        difference = np.abs(wanted["logits"] - found["logits"])
        assert np.median(difference) < 0.05 * np.abs(wanted["logits"]).max()


def test_a_relu_between_two_products_is_the_zero_point_of_the_first(make_tiny):
    tiny = make_tiny("transformer")
    step = tiny.graphs.quantized().decoder_step.graph
    kinds = Counter(node.op_type for node in step.node)
    assert kinds["QGemm"] == tiny.config.model.num_decoder_layers
    assert kinds["Relu"] == 0
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in step.initializer}
    zero_points = [constants[node.input[8]] for node in step.node if node.op_type == "QGemm"]
    assert all(point == 0 for point in zero_points)


def test_an_activation_whose_range_nobody_measured_is_refused(gru):
    with pytest.raises(QuantizationError, match="its range is not known"):
        quantize(gru.graphs.decoder_step, {})


@given(st.floats(min_value=1e-30, max_value=1e30))
def test_bounds_are_rounded_outwards_by_little(bound):
    rounded = outwards(bound)
    assert bound <= rounded <= bound * (1 + 2**-4)
    assert outwards(rounded) == rounded


def test_a_bound_of_zero_stays_zero():
    assert outwards(0.0) == 0.0


@pytest.mark.parametrize("num_rows", [1, 2, 5, 64])
@settings(max_examples=20, deadline=None)
@given(shape=st.tuples(st.integers(1, 300), st.integers(8, 40)), seed=st.integers(0, 2**32 - 1))
def test_products_are_exact_sums_on_a_processor_that_saturates_pairs_at_16_bits(num_rows, shape, seed):
    rng = np.random.default_rng(seed)
    integers, _ = quantize_columns(rng.standard_normal(shape).astype(np.float32))
    pairs = np.pad(integers.astype(np.int64), ((0, shape[0] % 2), (0, 0))).reshape(-1, 2, shape[1])
    assert 255 * np.maximum(pairs, 0).sum(1).max() < 2**15
    assert 255 * np.minimum(pairs, 0).sum(1).min() >= -(2**15)
    rows = rng.choice(np.array([0, 255], np.uint8), (num_rows, shape[0]))
    exact = rows.astype(np.int64) @ integers.astype(np.int64)
    np.testing.assert_array_equal(integer_product(integers)(rows), exact)
