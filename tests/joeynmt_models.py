"""Small random models of JoeyNMT, built by its own build_model from a configuration, in a folder as its training leaves
it: `python -m tests.joeynmt_models KIND FOLDER` in a process that sees JoeyNMT. Their weights are so large that targets
differ, and end at different lengths."""

from __future__ import annotations

import copy
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import sentencepiece
import torch
import yaml

LIBRARY = Path(os.environ.get("JOEYNMT_LIBRARY", ".venv/joeynmt")).resolve()
"""What `make test-originals` installs JoeyNMT in; no other process than its own sees it, since it needs an older
SentencePiece than what serves."""
SENTENCES = (
    "A man rides a bicycle.",
    "Two dogs play in the snow.",
    "A child is eating an apple at the table.",
    "Three women stand in front of an old house and talk.",
    "People are waiting for the train at a station.",
    "An old man sits on a bench in the park and reads a newspaper.",
)
SYMBOLS = ["<unk>", "<pad>", "<s>", "</s>"]
RECURRENT = {
    "encoder": {
        "type": "recurrent",
        "rnn_type": "lstm",
        "hidden_size": 24,
        "bidirectional": True,
        "num_layers": 2,
        "embeddings": {"embedding_dim": 20, "scale": False},
    },
    "decoder": {
        "type": "recurrent",
        "rnn_type": "lstm",
        "hidden_size": 32,
        "num_layers": 2,
        "attention": "bahdanau",
        "init_hidden": "bridge",
        "input_feeding": True,
        "embeddings": {"embedding_dim": 16, "scale": False},
    },
}
TRANSFORMER = {
    part: {
        "type": "transformer",
        "hidden_size": 64,
        "ff_size": size,
        "num_layers": layers,
        "num_heads": heads,
        "layer_norm": "pre",
        "embeddings": {"embedding_dim": 64, "scale": True},
    }
    for part, size, layers, heads in (("encoder", 96, 2, 4), ("decoder", 80, 3, 2))
}


def words(seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    known = " ".join(SENTENCES).split()
    return [*SENTENCES, *(" ".join(rng.choices(known, k=rng.randint(3, 12))) for _ in range(300))]


def make(
    folder: Path,
    model: dict[str, Any],
    *,
    level: str = "bpe",
    changes: dict[str, Any] | None = None,
    side: dict[str, Any] | None = None,
    testing: dict[str, Any] | None = None,
    tied: bool = False,
    end_weight: float = 1.6,
    weights: float = 2.0,
    seed: int = 1,
) -> Path:
    """A model whose vocabularies lack some pieces of their tokenizers. changes: of the model's parts, by
    "decoder.rnn_type"; side: of both languages; tied: both languages have one vocabulary, one embedding, and the output
    layer is that embedding; end_weight: times what the end of the sentence had by chance; weights: how large all others
    are.
    """
    from joeynmt.model import build_model
    from joeynmt.vocabulary import build_vocab

    folder.mkdir(parents=True)
    config = copy.deepcopy(model)
    for name, value in (changes or {}).items():
        part, _, field = name.partition(".")
        config[part][field] = value
    config |= {"tied_embeddings": tied, "tied_softmax": tied, "initializer": "xavier_uniform"}
    data: dict[str, Any] = {"train": "/gone/train", "dev": "/gone/dev", "special_symbols": {}}
    for name, language, corpus in (("src", "en", words()), ("trg", "de", words(0 if tied else 1)[6 * (not tied) :])):
        voc_file = f"{name}_vocab.txt"
        data[name] = {"lang": language, "level": level, "voc_file": f"/gone/{voc_file}", **(side or {})}
        if (side or {}).get("lowercase"):
            corpus = [line.lower() for line in corpus]
        if level == "bpe":
            tokens = _train_pieces(folder / f"{name}.model", corpus, 70 if tied or name == "src" else 62)
            data[name] |= {"tokenizer_type": "sentencepiece", "tokenizer_cfg": {"model_file": f"/gone/{name}.model"}}
        else:
            lines = [line.split(" ") if level == "word" else list(line.replace(" ", "\u2581")) for line in corpus]
            counted = Counter(token for line in lines for token in line)
            tokens = sorted(token for token, number in counted.items() if number > 1)[: None if name == "src" else -2]
        (folder / voc_file).write_text("\n".join([*SYMBOLS, *tokens]) + "\n", encoding="utf-8")
    whole = {
        "name": folder.name,
        "joeynmt_version": "2.3.0",
        "model_dir": "/gone/models",
        "data": data,
        "testing": {"beam_size": 5, "beam_alpha": 1.0, **(testing or {})},
        "training": {"batch_size": 8, "epochs": 1, "load_model": "/gone/first.ckpt"},
        "model": config,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")
    symbols = SimpleNamespace(
        unk_id=0, unk_token="<unk>", pad_id=1, pad_token="<pad>", bos_id=2, bos_token="<s>", eos_id=3, eos_token="</s>"
    )
    symbols.sep_token, symbols.sep_id, symbols.lang_tags = None, None, []
    files = {name: {"voc_file": str(folder / f"{name}_vocab.txt")} for name in ("src", "trg")}
    built = build_model(copy.deepcopy(config), *build_vocab({**files, "special_symbols": symbols}))
    _enlarge(built, end_weight, weights, seed)
    state = {"model_state": built.state_dict(), "optimizer_state": {}, "scaler_state": None, "scheduler_state": None}
    torch.save(state, folder / "300.ckpt")
    torch.save({"model_state": {}}, folder / "200.ckpt")
    (folder / "best.ckpt").symlink_to("300.ckpt")
    return folder


def _train_pieces(path: Path, corpus: list[str], size: int) -> list[str]:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus),
        model_prefix=str(path.with_suffix("")),
        vocab_size=size,
        model_type="bpe",
        minloglevel=2,
    )
    path.with_suffix(".vocab").unlink()
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
    every = [pieces.id_to_piece(i) for i in range(3, pieces.get_piece_size())]
    return [piece for i, piece in enumerate(every) if i % 5 or len(piece) == 1]


def _enlarge(model: Any, end_weight: float, weights: float, seed: int) -> None:
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                size = 1.0 if "embed" in name else weights
                parameter.normal_(0.0, size / parameter.shape[-1] ** 0.5)
            else:
                is_norm = "norm" in name and name.endswith("weight")
                parameter.normal_(float(is_norm), 0.2)
                if is_norm:
                    parameter.mul_(torch.randint(2, parameter.shape) * 2 - 1)
        output = model.decoder.output_layer.weight
        output[3] *= end_weight
        output[1] *= 0.0


MAKERS: dict[str, Callable[[Path], Path]] = {
    "lstm-bahdanau": lambda folder: make(folder, RECURRENT, seed=2),
    "gru-luong-words": lambda folder: make(
        folder,
        RECURRENT,
        level="word",
        changes={
            "encoder.rnn_type": "gru",
            "encoder.hidden_size": 16,
            "decoder.rnn_type": "gru",
            "decoder.attention": "luong",
            "decoder.init_hidden": "last",
            "decoder.num_layers": 1,
        },
        side={"lowercase": True},
    ),
    "gru-bahdanau-tied": lambda folder: make(
        folder,
        RECURRENT,
        tied=True,
        changes={
            "encoder.num_layers": 1,
            "encoder.embeddings": {"embedding_dim": 32, "scale": True},
            "decoder.embeddings": {"embedding_dim": 32, "scale": True},
            "decoder.rnn_type": "gru",
            "decoder.init_hidden": "zero",
            "decoder.input_feeding": False,
        },
        side={"lowercase": True},
        testing={"beam_alpha": -1, "generate_unk": False},
    ),
    "lstm-luong-characters": lambda folder: make(
        folder,
        RECURRENT,
        level="char",
        changes={"decoder.attention": "luong", "encoder.hidden_size": 32, "decoder.init_hidden": "last"},
        end_weight=2.0,
        seed=2,
    ),
    "transformer-pre": lambda folder: make(folder, TRANSFORMER, weights=0.7, end_weight=2.5, seed=3),
    "transformer-post-tied": lambda folder: make(
        folder,
        TRANSFORMER,
        tied=True,
        changes={
            f"{part}.{field}": value
            for part in ("encoder", "decoder")
            for field, value in (("layer_norm", "post"), ("activation", "gelu"), ("alpha", 1.2))
        },
        testing={"beam_alpha": 0.6},
        weights=0.8,
        end_weight=1.4,
    ),
}


def make_in_its_own_process(kind: str, folder: Path) -> Path:
    """The folder, with a model of this kind."""
    run_with_library("tests.joeynmt_models", kind, str(folder))
    return folder


def run_with_library(module: str, *arguments: str, given: str = "") -> str:
    """What a module writes that runs in a process that sees JoeyNMT."""
    paths = os.pathsep.join([str(LIBRARY), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        (sys.executable, "-W", "ignore", "-m", module, *arguments),
        input=given,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": paths},
    )
    return done.stdout


if __name__ == "__main__":
    MAKERS[sys.argv[1]](Path(sys.argv[2]))
