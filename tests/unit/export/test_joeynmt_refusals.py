"""What cannot be imported is refused by name, before anything is written. The folders are made by JoeyNMT itself."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from export.cli import main
from export.errors import ImportedModelError
from export.joeynmt.read import read
from tests.joeynmt_models import LIBRARY, make_in_its_own_process

pytestmark = pytest.mark.skipif(
    not (LIBRARY / "joeynmt").is_dir(), reason="JoeyNMT is not installed: make test-originals does it"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("originals")
    kinds = {"recurrent": "lstm-bahdanau", "transformer": "transformer-pre", "words": "gru-luong-words"}
    return {name: make_in_its_own_process(kind, root / name) for name, kind in kinds.items()}


@pytest.fixture
def folder(made, tmp_path):
    def copy(kind: str) -> Path:
        there = tmp_path / kind
        there.mkdir()
        for path in made[kind].iterdir():
            (there / path.name).write_bytes(path.read_bytes())
        return there

    return copy


def refuse(folder: Path, match: str) -> None:
    with pytest.raises(ImportedModelError, match=match):
        read(folder, LIBRARY)


def change(folder: Path, place: str, value: object) -> None:
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    *outer, last = place.split(".")
    part = config
    for name in outer:
        part = part[name]
    part[last] = value
    path.write_text(yaml.safe_dump(config))


def test_a_folder_that_is_none_or_has_no_configuration(folder, tmp_path):
    refuse(tmp_path / "gone", "is no folder; it is the model_dir of JoeyNMT's training")
    recurrent = folder("recurrent")
    (recurrent / "config.yaml").write_text("model: [")
    refuse(recurrent, "config.yaml cannot be read")
    (recurrent / "config.yaml").write_text("name: other")
    refuse(recurrent, "config.yaml is no configuration of JoeyNMT: it has no model")
    (recurrent / "config.yaml").unlink()
    refuse(recurrent, "has no config.yaml")


@pytest.mark.parametrize(
    ("kind", "place", "value"),
    [
        ("recurrent", "model.decoder.attention", "dot"),
        ("recurrent", "model.decoder.init_hidden", "mean"),
        ("recurrent", "model.decoder.activation", "relu"),
        ("recurrent", "model.encoder.bidirectional", False),
        ("recurrent", "model.encoder.type", "convolutional"),
        ("transformer", "model.decoder.activation", "tanh"),
        ("transformer", "model.encoder.layer_norm", "sandwich"),
        ("recurrent", "data.src.level", "syllable"),
        ("recurrent", "data.src.normalize", True),
        ("recurrent", "data.src.has_prompt", True),
        ("recurrent", "data.trg.tokenizer_type", "subword-nmt"),
        ("recurrent", "data.src.tokenizer_cfg.pretokenizer", "moses"),
        ("recurrent", "data.special_symbols.lang_tags", ["<de>"]),
        ("recurrent", "data.special_symbols.sep_token", "<sep>"),
        ("recurrent", "testing.repetition_penalty", 1.5),
        ("recurrent", "testing.no_repeat_ngram_size", 3),
    ],
)
def test_a_part_of_the_configuration(folder, kind, place, value):
    changed = folder(kind)
    change(changed, place, value)
    refuse(changed, f"^{place}[^ ]* = .* in config.yaml is not supported")


def test_parts_that_do_not_go_together(folder):
    mixed = folder("recurrent")
    decoder = yaml.safe_load((folder("transformer") / "config.yaml").read_text())["model"]["decoder"]
    change(mixed, "model.decoder", decoder)
    refuse(mixed, "model.encoder.type is recurrent and model.decoder.type is transformer, which is not supported")
    unlike = mixed.parent / "transformer"
    change(unlike, "model.encoder.layer_norm", "post")
    refuse(unlike, "encoder.layer_norm and decoder.layer_norm in config.yaml are not the same")
    change(unlike, "model.encoder", {**decoder, "layer_norm": None})
    refuse(unlike, "model.encoder.layer_norm = None in config.yaml is not supported")
    change(unlike, "model.encoder", {name: value for name, value in decoder.items() if name != "layer_norm"})
    refuse(unlike, "model.encoder.layer_norm is missing in config.yaml")
    change(unlike, "model.encoder", decoder)
    words = folder("words")
    change(words, "data.trg.level", "bpe")
    refuse(words, "data.src.level is word and data.trg.level is bpe; bpe on one side alone is not supported")


def test_a_checkpoint_of_another_model(folder):
    recurrent = folder("recurrent")
    change(recurrent, "model.encoder.num_layers", 3)
    refuse(
        recurrent, "the checkpoint has no encoder.rnn.weight_ih_l2: it is of another architecture than its config.yaml"
    )
    change(recurrent, "model.encoder.num_layers", 1)
    refuse(recurrent, "the checkpoint has encoder.rnn.*_l1.*, of which its config.yaml says nothing")
    change(recurrent, "model.encoder.num_layers", 2)
    change(recurrent, "model.decoder.hidden_size", 40)
    refuse(recurrent, "which does not fit .* as config.yaml has it")


def test_a_vocabulary_that_is_missing_or_of_another_model(folder):
    recurrent = folder("recurrent")
    path = recurrent / "trg_vocab.txt"
    tokens = path.read_text().splitlines()
    path.write_text("\n".join([*tokens, "more"]))
    refuse(recurrent, f"trg_vocab.txt has {len(tokens) + 1} tokens, the model has {len(tokens)}")
    change(recurrent, "data.special_symbols", {"pad_id": 0, "unk_id": 1})
    refuse(recurrent, "src_vocab.txt has <unk> as token 0, data.special_symbols as 1")
    change(recurrent, "data.special_symbols", {})
    path.unlink()
    refuse(recurrent, "lacks trg_vocab.txt, of data.trg.voc_file")


def test_a_tokenizer_that_is_missing_or_cut_short(folder):
    recurrent = folder("recurrent")
    path = recurrent / "src.model"
    path.write_bytes(path.read_bytes()[:40])
    refuse(recurrent, "src.model is no SentencePiece model, or is cut short")
    path.unlink()
    refuse(recurrent, "lacks src.model, of data.src.tokenizer_cfg.model_file")
    change(recurrent, "data.src.tokenizer_cfg", {})
    refuse(recurrent, "data.src.tokenizer_cfg.model_file is missing in config.yaml")


def test_a_checkpoint_that_is_missing_cut_short_or_none_of_joeynmt(folder):
    recurrent = folder("recurrent")
    best = recurrent / "best.ckpt"
    content = best.read_bytes()
    best.write_bytes(content[: len(content) // 2])
    refuse(recurrent, "best.ckpt is damaged, cut short, or no checkpoint")
    torch.save({"state_dict": {}}, best)
    refuse(recurrent, "best.ckpt is no checkpoint of JoeyNMT: it has no model_state")
    torch.save({"model_state": {"src_embed.lut.weight": json.JSONDecoder}}, best)
    refuse(recurrent, "best.ckpt is damaged, cut short, or no checkpoint: Weights only load failed")
    torch.save({"model_state": {"src_embed.lut.weight": [1.0]}}, best)
    refuse(recurrent, "best.ckpt is no checkpoint of JoeyNMT: src_embed.lut.weight is no tensor")
    best.unlink()
    assert read(recurrent, LIBRARY).weights.files == (recurrent / "300.ckpt",)
    for path in recurrent.glob("*.ckpt"):
        path.unlink()
    refuse(recurrent, "has no checkpoint: neither best.ckpt nor N.ckpt")
    change(recurrent, "testing.load_model", "/elsewhere/9.ckpt")
    refuse(recurrent, "lacks 9.ckpt, which testing.load_model names")


def test_without_the_original_the_command_says_how_to_install_it_and_writes_nothing(folder, tmp_path, capsys):
    library, store = tmp_path / "elsewhere", tmp_path / "store"
    options = ("--library", str(library), "--model-store", str(store))
    assert main(["import", "joeynmt", str(folder("recurrent")), *options]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"stepstream-export import: {library} has no JoeyNMT, ")
    assert ": pip install --target joeynmt-library --no-deps" in said
    assert said.count("\n") == 1
    assert not store.exists()
