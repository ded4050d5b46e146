"""What cannot be imported is refused by name, before anything is written."""

import json
from pathlib import Path

import pytest
import safetensors.torch

from export.cli import main
from export.errors import ImportedModelError
from export.hf.read import read
from tests.hf_models import make_marian


@pytest.fixture(scope="module")
def marian(tmp_path_factory):
    return make_marian(tmp_path_factory.mktemp("original") / "opus")


@pytest.fixture
def folder(marian, tmp_path):
    copy = tmp_path / "opus"
    copy.mkdir()
    for path in marian.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def refuse(folder: Path, match: str) -> None:
    with pytest.raises(ImportedModelError, match=match):
        read(folder)


def change(folder: Path, file: str, **values: object) -> None:
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_folder_that_is_not_there(tmp_path):
    refuse(tmp_path / "opus-mt-en-de", "is no folder; download a model first: hf download")


def test_another_architecture(folder):
    change(folder, "config.json", model_type="pegasus")
    refuse(folder, "is a pegasus; supported are marian, m2m_100, bart, mbart, t5, mt5")


def test_the_command_says_it_in_one_line_and_writes_nothing(folder, capsys):
    change(folder, "config.json", model_type="pegasus")
    store = folder.parent / "store"
    assert main(["import", "hf", str(folder), "--model-store", str(store)]) == 1
    said = f"stepstream-export import: {folder} is a pegasus; supported are marian, m2m_100, bart, mbart, t5, mt5, "
    assert capsys.readouterr().err == f"{said}which NLLB is one of (m2m_100)\n"
    assert not store.exists()


def test_an_activation(folder):
    change(folder, "config.json", activation_function="tanh")
    refuse(folder, "the activation tanh is not supported")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"decoder_ffn_dim": 2**27}, r"the model has 1\d\d\.\d GB of weights in float32; a version holds 68\.7"),
        ({"encoder_ffn_dim": 2**27}, r"the model has 1\d\d\.\d GB of weights in float32"),
        (
            {"encoder_attention_heads": 5},
            "config.json is not supported: .* must be a multiple of num_heads",
        ),
    ],
)
def test_a_shape_that_our_graphs_cannot_have(folder, changes, match):
    change(folder, "config.json", **changes)
    refuse(folder, match)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("repetition_penalty", 1.3),
        ("begin_suppress_tokens", [3]),
        ("bad_words_ids", [[3, 4]]),
        ("length_penalty", -1.0),
    ],
)
def test_a_part_of_the_generation_configuration(folder, field, value):
    change(folder, "generation_config.json", **{field: value})
    refuse(folder, field)


def test_a_missing_tokenizer(folder):
    for name in ("source.spm", "target.spm", "vocab.json", "tokenizer_config.json"):
        (folder / name).unlink()
    refuse(folder, "has no tokenizer")


def test_a_vocabulary_of_another_model(folder):
    pieces = json.loads((folder / "vocab.json").read_text())
    (folder / "vocab.json").write_text(json.dumps(pieces | {"more": max(pieces.values()) + 1}))
    refuse(folder, "the MarianTokenizer has token")


def test_a_checkpoint_of_another_size(folder):
    change(folder, "config.json", encoder_layers=3)
    refuse(folder, "the checkpoint has no model.encoder.layers.2")
    change(folder, "config.json", encoder_layers=1)
    refuse(folder, "the checkpoint has model.encoder.layers.1.*, of which its config.json says nothing")
    change(folder, "config.json", encoder_layers=2, decoder_ffn_dim=72)
    refuse(folder, "which does not fit")


def test_weights_cut_short(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    refuse(folder, "model.safetensors is damaged or cut short")
    path.unlink()
    refuse(folder, "has no weights: neither model.safetensors nor pytorch_model.bin")


def test_an_index_that_leads_out_of_the_folder(folder):
    (folder / "model.safetensors").rename(folder.parent / "elsewhere.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../elsewhere.safetensors"}}))
    refuse(folder, "names a file outside of the folder")


def test_a_tensor_of_another_kind_of_model(folder):
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    tensors["classifier.weight"] = tensors["final_logits_bias"].clone()
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    refuse(folder, "the checkpoint has classifier.weight")
