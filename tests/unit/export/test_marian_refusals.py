"""What cannot be imported from Marian is refused by name, before anything is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.cli import main
from export.errors import ImportedModelError
from export.marian.read import read
from tests.marian_models import HIDDEN, OPTIONS, PIECES, STUDENT, Model, make, random_tensors, write


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return make(tmp_path_factory.mktemp("marian"))


@pytest.fixture
def model(made: Model, tmp_path: Path) -> Model:
    npz = tmp_path / "model.npz"
    npz.write_bytes(made.npz.read_bytes())
    return Model(npz, made.source, made.target)


def refuse(model: Model, match: str) -> None:
    with pytest.raises(ImportedModelError, match=match):
        read(model.npz, (model.source, model.target))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"type": "s2s"}, "type = 's2s' is not supported; 'transformer' is"),
        ({"type": "amun"}, "type = 'amun' is not supported"),
        (
            {"transformer-decoder-autoreg": "average-attention"},
            "autoreg = 'average-attention' is not .*; .* or 'rnn' is",
        ),
        ({"transformer-decoder-autoreg": "rnn"}, "dec-cell = 'gru' is not supported; 'ssru' is"),
        (STUDENT | {"layer-normalization": True}, "layer-normalization = True is not supported"),
        ({"transformer-ffn-activation": "tanh"}, "transformer-ffn-activation = 'tanh' is not supported"),
        ({"transformer-ffn-depth": 3}, "transformer-ffn-depth = 3 is not supported"),
        ({"lemma-dim-emb": 16}, "lemma-dim-emb = 16 is not supported"),
        ({"output-approx-knn": [100, 1024]}, "output-approx-knn = .* is not supported"),
        ({"input-types": ["sequence", "class"]}, "input-types = .* is not supported"),
        ({"dim-vocabs": [PIECES] * 3}, "dim-vocabs has 3 vocabularies; a source and a target are supported"),
        ({"right-left": True}, "right-left = True is not supported"),
        ({"transformer-postprocess": "dhn"}, "transformer-postprocess = 'hn', dropout left out, are not supported"),
        ({"transformer-preprocess": "n", "transformer-postprocess": "da"}, "Marian's decoding leaves out norms"),
        ({"transformer-tied-layers": [1, 2, 2]}, r"transformer-tied-layers = \[1, 2, 2\] does not fit 2 layers"),
        ({"transformer-guided-alignment-layer": 5}, "guided-alignment-layer = 5 is none of 2 layers"),
        ({"transformer-heads": 5}, "special:model.yml is not supported: .* must be a multiple of num_heads"),
    ],
)
def test_a_part_of_the_configuration(model: Model, changes: dict[str, object], match: str) -> None:
    write(model.npz, OPTIONS | changes, random_tensors(OPTIONS, 1))
    refuse(model, match)


def test_a_configuration_that_is_missing_or_none(model: Model) -> None:
    np.savez(model.npz, **random_tensors(OPTIONS, 1))
    refuse(model, "has no special:model.yml: it is no model that Marian saved")
    options = {name: value for name, value in OPTIONS.items() if name != "dim-emb"}
    write(model.npz, options, random_tensors(OPTIONS, 1))
    refuse(model, "special:model.yml lacks an option, .*dim-emb")


def test_a_model_of_other_layers_or_sizes_than_its_configuration_says(model: Model) -> None:
    tensors = random_tensors(OPTIONS, 1)
    write(model.npz, OPTIONS | {"enc-depth": 3}, tensors)
    refuse(model, "the checkpoint has no encoder_l3_.*: it is of another architecture than its special:model.yml")
    write(model.npz, OPTIONS | {"enc-depth": 1}, tensors)
    refuse(model, "the checkpoint has encoder_l2_.*, of which its special:model.yml says nothing")
    write(model.npz, OPTIONS | {"transformer-dim-ffn": 56}, tensors)
    refuse(model, "W1 is .* which does not fit .*, as special:model.yml has it")
    write(model.npz, OPTIONS, tensors | {"Wpos": np.zeros((50, HIDDEN), dtype=np.float32)})
    refuse(model, "the checkpoint has Wpos, of which its special:model.yml says nothing")


def test_a_file_that_is_cut_short_damaged_or_another(model: Model) -> None:
    whole = model.npz.read_bytes()
    model.npz.write_bytes(whole[: len(whole) // 2])
    refuse(model, "model.npz is damaged or cut short")
    place = whole.index(b"encoder_Wemb.npy") + 400
    model.npz.write_bytes(whole[:place] + bytes(4) + whole[place + 4 :])
    refuse(model, "model.npz is damaged: encoder_Wemb.npy")
    model.npz.unlink()
    refuse(model, "model.npz is no file; it is to be the MODEL.npz")
    refuse(Model(model.npz.with_name("model.intgemm.bin"), model.source, model.target), "of Marian's binary format")


def test_a_vocabulary_of_another_size_or_kind(model: Model, tmp_path: Path) -> None:
    write(model.npz, OPTIONS | {"dim-vocabs": [PIECES, PIECES + 8]}, random_tensors(OPTIONS, 1))
    refuse(model, f"target.spm has {PIECES} pieces, the model {PIECES + 8} tokens: they do not belong together")
    write(model.npz, OPTIONS, random_tensors(OPTIONS, 1))
    words = tmp_path / "vocab.yml"
    words.write_text("</s>: 0\n<unk>: 1\n")
    refuse(
        Model(model.npz, model.source, words), r"vocab.yml is no SentencePiece model; vocabularies of words or factors"
    )
    refuse(Model(model.npz, tmp_path / "none.spm", words), "none.spm is no file; --vocab takes the two .spm files")


def test_without_marian_itself_there_is_nothing_to_compare_with(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.marian.read.find_spec", lambda name: None)
    refuse(model, "the certificate compares with Marian's own translations: pip install pymarian")


def test_the_command_says_it_in_one_line_and_writes_nothing(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    model.npz.unlink()
    store = model.npz.parent / "store"
    vocabs = ("--vocab", str(model.source), str(model.target))
    assert main(["import", "marian", str(model.npz), *vocabs, "--model-store", str(store)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"stepstream-export import: {model.npz} is no file; it is to be the MODEL.npz")
    assert said.count("\n") == 1
    assert not store.exists()
