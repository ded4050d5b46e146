"""The graphs compute what the models compute, and a row depends on nothing but itself."""

from dataclasses import replace

import numpy as np
import onnxruntime.quantization
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export.bundle import export_graphs
from export.errors import (
    AxesDifferError,
    InvarianceError,
    NamesDifferError,
    TokensDifferError,
    ValuesDifferError,
    VerificationError,
)
from export.invariance import check_invariance
from export.models import masks
from export.models.contract import StateSpec
from export.parity import check_parity, check_states
from export.trace import encode_onnx, make_rows, random_sources, trace_onnx, within_lengths


def sources(num_sentences, longest, seed=5):
    return random_sources(num_sentences, longest, 40, seed)


def test_every_output_of_the_graphs_is_the_models_over_the_whole_grid(tiny, float32):
    parity = check_parity(tiny.model, float32)
    specs = tiny.model.state_specs
    encoded = {spec.name for spec in specs if spec.kind in ("constant", "carried")}
    stepped = {f"new_{spec.name}" for spec in specs if spec.kind in ("carried", "growing")}
    attention = {"attention"} if tiny.kind != "none" else set()
    assert parity.outputs.keys() == encoded | stepped | attention | {"candidate_log_probabilities", "logits"}
    assert (parity.batch_sizes, parity.source_lengths, parity.num_steps) == ((1, 3, 8), (1, 5, 17, 60), 30)
    assert max(difference.absolute for difference in parity.outputs.values()) < 1e-5


def test_other_weights_are_values_that_differ(tiny, float32):
    other = type(tiny.model)(tiny.config.model, tiny.model.vocabulary_size)
    other.load_state_dict({name: 1.001 * weight for name, weight in tiny.model.state_dict().items()})
    with pytest.raises(ValuesDifferError, match=r"batch 1, source length 1: \w+ differs by .* tolerance 0.000[1-9]"):
        check_parity(other.eval(), float32)


def test_weights_that_are_not_numbers_are_values_that_differ(gru, load_graphs):
    broken = type(gru.model)(gru.config.model, gru.model.vocabulary_size)
    broken.load_state_dict({name: weight * float("nan") for name, weight in gru.model.state_dict().items()})
    with pytest.raises(ValuesDifferError, match="is not finite where"):
        check_parity(broken.eval(), load_graphs(gru, gru.graphs))


def test_swapped_candidates_are_tokens_that_differ(gru, load_graphs):
    graphs = replace(gru.graphs)
    step = type(graphs.decoder_step)()
    step.CopyFrom(graphs.decoder_step)
    top = next(node for node in step.graph.node if node.op_type == "TopK")
    step.graph.node.append(
        onnxruntime.quantization.quant_utils.onnx.helper.make_node("Neg", ["raw_ids"], ["candidate_ids"])
    )
    top.output[1] = "raw_ids"
    with pytest.raises(TokensDifferError, match="batch 1, source length 1, step 0, row 0: candidate 0 is token -"):
        check_parity(gru.model, load_graphs(gru, replace(graphs, decoder_step=step)))


def test_states_under_other_names_or_axes_are_refused(gru, load_graphs, monkeypatch):
    model = load_graphs(gru, gru.graphs)
    specs = gru.model.state_specs
    first = specs[0]
    monkeypatch.setattr(type(gru.model), "state_specs", (StateSpec("other", first.kind, first.axes), *specs[1:]))
    with pytest.raises(NamesDifferError, match="the model has the states other, keys"):
        check_states(gru.model.state_specs, model.manifest)
    monkeypatch.setattr(type(gru.model), "state_specs", (StateSpec(first.name, first.kind, ("batch", 7)), *specs[1:]))
    with pytest.raises(AxesDifferError, match=r"memory is constant with the axes \['batch', 7\] in the model"):
        check_states(gru.model.state_specs, model.manifest)


def test_padding_neighbours_and_place_change_no_bit_in_either_precision(float32, int8):
    for model in (float32, int8):
        found = check_invariance(model, sources(24, 40))
        assert (found.padding, found.batch, found.placement) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("kind", ["gru", "transformer"])
def test_the_checks_fail_when_the_source_mask_is_gone(kind, make_tiny, load_graphs, monkeypatch):
    tiny = make_tiny(kind)
    with monkeypatch.context() as patch:
        patch.setattr(
            masks, "source_mask", lambda lengths, length: torch.ones(lengths.shape[0], length, dtype=torch.bool)
        )
        unmasked = load_graphs(tiny, export_graphs(tiny.model))
    with pytest.raises(InvarianceError, match=r"^padding changes \w+ in "):
        check_invariance(unmasked, sources(24, 40))
    with pytest.raises(VerificationError):
        check_parity(tiny.model, unmasked)


def test_the_check_fails_when_a_neighbour_sets_the_scale_of_a_row(gru, load_graphs, tmp_path):
    (tmp_path / "step.onnx").write_bytes(gru.graphs.decoder_step.SerializeToString())
    onnxruntime.quantization.quantize_dynamic(tmp_path / "step.onnx", tmp_path / "leaky.onnx")
    leaky = type(gru.graphs.decoder_step).FromString((tmp_path / "leaky.onnx").read_bytes())
    with pytest.raises(InvarianceError, match="batch changes"):
        check_invariance(load_graphs(gru, replace(gru.graphs, decoder_step=leaky)), sources(24, 40))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 70), min_size=1, max_size=12),
    place=st.integers(0, 11),
    seed=st.integers(0, 2**16),
)
def test_a_quantized_row_is_the_same_alone_and_among_any_neighbours(int8, lengths, place, seed):
    place %= len(lengths)
    crowd = [sources(1, length, seed + i)[0] for i, length in enumerate(lengths)]
    rows = make_rows(crowd, int8.manifest.padded(max(lengths)), 6, 40, seed)
    alone = rows.take(np.array([place])).of_width(int8.manifest.padded(lengths[place]))
    together = [within_lengths(int8, rows, encode_onnx(int8, rows)), *(made for _, made in trace_onnx(int8, rows))]
    single = [within_lengths(int8, alone, encode_onnx(int8, alone)), *(made for _, made in trace_onnx(int8, alone))]
    for mine, theirs in zip(single, together, strict=True):
        for name, value in mine.items():
            corner = tuple(slice(size) for size in value.shape[1:])
            np.testing.assert_array_equal(value[0], theirs[name][place][corner], err_msg=name)
