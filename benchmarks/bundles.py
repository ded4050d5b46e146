"""The models that are measured: those that ship, and a Transformer base with random weights."""

from __future__ import annotations

import random
from pathlib import Path

import sentencepiece
import torch

from export.bundle import CERTIFICATE_FILE, export_graphs, write_graphs, write_manifest
from export.checkpoint import VOCABULARY_FILE
from export.configuration import DataConfiguration, TrainingConfiguration, TransformerConfiguration
from export.models.build import build_model

BASE_NAME = "random-transformer-base"
BASE = TransformerConfiguration(
    family="transformer",
    hidden_size=512,
    num_heads=8,
    feed_forward_size=2048,
    num_encoder_layers=6,
    num_decoder_layers=6,
    alignment_layer=4,
)
BASE_VOCABULARY = 32_000


def make_random_base(folder: Path) -> Path:
    """FOLDER/1: a Transformer base, random weights, exact 8-bit form, a vocabulary of 32,000 invented words."""
    data = DataConfiguration(source_language="en", target_language="de", licence="none", citation="none")
    config = TrainingConfiguration(name=BASE_NAME, data=data, model=BASE)
    torch.manual_seed(1)
    model = build_model(BASE, BASE_VOCABULARY).eval()
    folder.mkdir(parents=True)
    _write_vocabulary(folder / VOCABULARY_FILE)
    version = folder / "1"
    write_graphs(version, export_graphs(model).quantized(), folder)
    (version / CERTIFICATE_FILE).write_text("{}\n", encoding="utf-8")
    write_manifest(version, config, model, "int8", BASE_NAME, 1)
    return version


def _write_vocabulary(path: Path) -> None:
    letters = random.Random(1)
    words = ["".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=8)) for _ in range(BASE_VOCABULARY + 100)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(" ".join(words[i : i + 20]) for i in range(0, len(words), 20)),
        model_prefix=str(path.with_suffix("")),
        vocab_size=BASE_VOCABULARY,
        model_type="word",
        pad_id=0,
        unk_id=1,
        bos_id=2,
        eos_id=3,
        minloglevel=2,
    )
