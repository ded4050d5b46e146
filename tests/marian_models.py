"""Small random models of Marian NMT in its own format, with SentencePiece vocabularies as it trains them. Their weights
are so large that targets differ, and end at different lengths."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import yaml

SENTENCES = (
    "A man rides a bicycle.",
    "Two dogs play in the snow.",
    "A child is eating an apple at the table.",
    "Three women stand in front of an old house and talk.",
    "People are waiting for the train at a station.",
    "An old man sits on a bench in the park and reads a newspaper.",
)
HIDDEN, INNER, PIECES, END_ID, END_WEIGHT = 32, 48, 64, 0, 1.5
OPTIONS: dict[str, Any] = {
    "type": "transformer",
    "dim-emb": HIDDEN,
    "dim-vocabs": [PIECES, PIECES],
    "enc-depth": 2,
    "dec-depth": 2,
    "dec-cell": "gru",
    "input-types": [],
    "layer-normalization": False,
    "lemma-dim-emb": 0,
    "output-omit-bias": False,
    "right-left": False,
    "skip": False,
    "tied-embeddings": False,
    "tied-embeddings-all": False,
    "tied-embeddings-src": False,
    "transformer-aan-activation": "swish",
    "transformer-aan-depth": 2,
    "transformer-decoder-autoreg": "self-attention",
    "transformer-dim-aan": 48,
    "transformer-dim-ffn": INNER,
    "transformer-ffn-activation": "swish",
    "transformer-ffn-depth": 2,
    "transformer-guided-alignment-layer": "last",
    "transformer-heads": 4,
    "transformer-no-projection": False,
    "transformer-postprocess": "dan",
    "transformer-postprocess-emb": "d",
    "transformer-postprocess-top": "",
    "transformer-preprocess": "",
    "transformer-tied-layers": [],
    "transformer-train-position-embeddings": False,
    "ulr": False,
    "version": "v1.12.0",
}
STUDENT: dict[str, Any] = {
    "tied-embeddings-all": True,
    "transformer-decoder-autoreg": "rnn",
    "dec-cell": "ssru",
    "dec-depth": 3,
    "transformer-tied-layers": [1, 2, 2],
    "transformer-ffn-activation": "relu",
}
"""As the students of Bergamot and Firefox are."""
Shape = tuple[int, int]


@dataclass(frozen=True)
class Model:
    """The files that Marian's training leaves."""

    npz: Path
    source: Path
    target: Path


def make(folder: Path, options: Mapping[str, Any] | None = None, *, seed: int = 1, shared: bool = False) -> Model:
    """A model with some options of its own; shared: one vocabulary for both languages."""
    folder.mkdir(parents=True, exist_ok=True)
    npz = folder / "model.npz"
    every = OPTIONS | dict(options or {})
    write(npz, every, random_tensors(every, seed))
    source = train_vocabulary(folder / "source.spm", 0)
    return Model(npz, source, source if shared else train_vocabulary(folder / "target.spm", 1))


def write(npz: Path, options: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    text = yaml.safe_dump(dict(options)).encode() + b"\0"
    np.savez(npz, **tensors, **{"special:model.yml": np.frombuffer(text, dtype=np.int8)})


def train_vocabulary(path: Path, seed: int) -> Path:
    """With Marian's ids for the end of the sentence and the unknown."""
    rng = random.Random(seed)
    words = " ".join(SENTENCES).split()
    lines = [*SENTENCES, *(" ".join(rng.choices(words, k=rng.randint(3, 12))) for _ in range(300))]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(path.with_suffix("")),
        vocab_size=PIECES,
        eos_id=END_ID,
        unk_id=1,
        bos_id=-1,
        minloglevel=2,
    )
    path.with_suffix(".vocab").unlink()
    return path.with_suffix(".model").rename(path)


def random_tensors(options: Mapping[str, Any], seed: int) -> dict[str, np.ndarray]:
    """Norms change the signs of half of what they norm, since a token would follow itself for ever where the output
    layer is the embedding."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in _shapes(options):
        if name.endswith(("Wemb", "_Wt")):
            values = rng.normal(0.0, 2.0 * HIDDEN**-0.5, shape)
        elif "_scale" in name:
            values = rng.normal(1.0, 0.2, shape) * rng.choice((-1.0, 1.0), shape)
        elif shape[0] == 1:
            values = rng.normal(0.0, 0.3, shape)
        else:
            values = rng.normal(0.0, 1.5 * shape[0] ** -0.5, shape)
        tensors[name] = values.astype(np.float32)
    if "decoder_ff_logit_out_b" in tensors:
        tensors["decoder_ff_logit_out_b"][0, END_ID] += END_WEIGHT
    return tensors


def _shapes(options: Mapping[str, Any]) -> Iterator[tuple[str, Shape]]:
    everywhere = options["tied-embeddings-all"]
    if everywhere or options["tied-embeddings-src"]:
        yield "Wemb", (PIECES, HIDDEN)
    else:
        yield "encoder_Wemb", (PIECES, HIDDEN)
        yield "decoder_Wemb", (PIECES, HIDDEN)
    if not everywhere and not options["tied-embeddings"]:
        yield "decoder_ff_logit_out_Wt", (PIECES, HIDDEN)
    if not options["output-omit-bias"]:
        yield "decoder_ff_logit_out_b", (1, PIECES)
    recurrent = options["transformer-decoder-autoreg"] == "rnn"
    for i in range(1, options["enc-depth"] + 1):
        yield from _attention(options, f"encoder_l{i}_self")
        yield from _feed_forward(options, f"encoder_l{i}_ffn")
    for i in sorted(set(options["transformer-tied-layers"]) or range(1, options["dec-depth"] + 1)):
        yield from _recurrence(options, f"decoder_l{i}_rnn") if recurrent else _attention(options, f"decoder_l{i}_self")
        yield from _attention(options, f"decoder_l{i}_context")
        yield from _feed_forward(options, f"decoder_l{i}_ffn")
    for side in ("encoder", "decoder"):
        if "n" in options["transformer-postprocess-emb"]:
            yield from _norm(f"{side}_emb", "_pre")
        if "n" in options["transformer-postprocess-top"]:
            yield from _norm(f"{side}_top", "")


def _attention(options: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Shape]]:
    for part in "qkvo":
        yield f"{prefix}_W{part}", (HIDDEN, HIDDEN)
        yield f"{prefix}_b{part}", (1, HIDDEN)
    yield from _layer_norm(options, f"{prefix}_Wo")


def _recurrence(options: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Shape]]:
    yield f"{prefix}_W", (HIDDEN, HIDDEN)
    yield f"{prefix}_Wf", (HIDDEN, HIDDEN)
    yield f"{prefix}_bf", (1, HIDDEN)
    if options.get("transformer-rnn-projection"):
        yield f"{prefix}_Wo", (HIDDEN, HIDDEN)
        yield f"{prefix}_bo", (1, HIDDEN)
    yield from _layer_norm(options, prefix if options["transformer-preprocess"] else f"{prefix}_ffn")


def _feed_forward(options: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Shape]]:
    yield f"{prefix}_W1", (HIDDEN, INNER)
    yield f"{prefix}_b1", (1, INNER)
    yield f"{prefix}_W2", (INNER, HIDDEN)
    yield f"{prefix}_b2", (1, HIDDEN)
    yield from _layer_norm(options, f"{prefix}_ffn")


def _layer_norm(options: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Shape]]:
    yield from _norm(prefix, "_pre" if options["transformer-preprocess"] else "")


def _norm(prefix: str, suffix: str) -> Iterator[tuple[str, Shape]]:
    yield f"{prefix}_ln_scale{suffix}", (1, HIDDEN)
    yield f"{prefix}_ln_bias{suffix}", (1, HIDDEN)
