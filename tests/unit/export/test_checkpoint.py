"""Weights in half precision and in 8 bits: what a file holds, and that the model it holds is the same."""

import numpy as np
import pytest
import safetensors.torch
import torch
from onnx import TensorProto, numpy_helper

from export.bundle import export_graphs
from export.checkpoint import load_checkpoint, load_weights, pack_weights, save_weights
from export.errors import CheckpointError
from export.publish import publish

MATRIX = torch.randn(64, 96, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def weights_file(tmp_path):
    return tmp_path / "weights.safetensors"


def test_packing_halves_a_file_and_moves_no_weight_by_more_than_half_a_step(tmp_path, weights_file):
    save_weights(tmp_path, {"matrix": MATRIX, "bias": MATRIX[0]})
    in_half, num_bytes = load_weights(tmp_path), weights_file.stat().st_size
    assert all(tensor.dtype == torch.float32 for tensor in in_half.values())
    pack_weights(tmp_path)
    assert 1.8 < num_bytes / weights_file.stat().st_size < 2.0
    packed = load_weights(tmp_path)
    assert packed.keys() == in_half.keys()
    assert torch.equal(packed["bias"], in_half["bias"])
    half_steps = in_half["matrix"].abs().amax(-1, keepdim=True) / 254
    assert ((packed["matrix"] - in_half["matrix"]).abs() <= half_steps * 1.0001).all()
    assert not torch.equal(packed["matrix"], in_half["matrix"])


def test_packing_again_changes_nothing(make_checkpoint):
    folder = make_checkpoint("general")
    pack_weights(folder)
    once = (folder / "weights.safetensors").read_bytes()
    pack_weights(folder)
    assert (folder / "weights.safetensors").read_bytes() == once


def test_a_parameter_may_be_called_scales(tmp_path, weights_file):
    weights = {"score.scales": MATRIX, "score.shift.scales": MATRIX[0], "score.shift.weight": MATRIX}
    save_weights(tmp_path, weights)
    in_half = load_weights(tmp_path)
    assert in_half.keys() == weights.keys()
    pack_weights(tmp_path)
    packed = load_weights(tmp_path)
    assert packed.keys() == weights.keys()
    assert torch.equal(packed["score.shift.scales"], in_half["score.shift.scales"])
    assert torch.allclose(packed["score.scales"], in_half["score.scales"], atol=0.02)


def test_a_matrix_without_its_scales_is_refused(make_checkpoint, tmp_path):
    folder = make_checkpoint("general")
    pack_weights(folder)
    path = folder / "weights.safetensors"
    stored = safetensors.torch.load_file(path)
    lost = next(name for name in stored if name.endswith(".scales"))
    del stored[lost]
    safetensors.torch.save_file(stored, path)
    with pytest.raises(RuntimeError, match=f"weights.safetensors lacks {lost}$"):
        load_weights(folder)
    with pytest.raises(CheckpointError, match=f"cannot be loaded: .*lacks {lost}$"):
        publish(folder, model_store=tmp_path)


def integers(folder):
    graphs = export_graphs(load_checkpoint(folder)[1]).quantized()
    return {
        (graph.graph.name, tensor.name): numpy_helper.to_array(tensor)
        for graph in (graphs.encoder, graphs.decoder_step)
        for tensor in graph.graph.initializer
        if tensor.data_type == TensorProto.INT8
    }


def test_the_8_bit_graphs_of_a_packed_checkpoint_hold_integers_that_differ_by_one_at_most(make_checkpoint):
    folder = make_checkpoint("general")
    before = integers(folder)
    pack_weights(folder)
    after = integers(folder)
    assert before.keys() == after.keys()
    assert len(before) > 5
    for name, values in before.items():
        assert np.abs(after[name].astype(int) - values).max() <= 1, name
