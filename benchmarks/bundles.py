"""Models with random weights, as versions on the disk, for what is measured without a translation that makes sense."""

from __future__ import annotations

import random
from pathlib import Path

import sentencepiece
import torch

from export.bundle import export_graphs, vocabulary_of, write_graphs, write_manifest
from export.checkpoint import VOCABULARY_FILE
from export.configuration import (
    DataConfiguration,
    ModelConfiguration,
    TrainingConfiguration,
    TransformerConfiguration,
)
from export.models.build import build_model
from export.models.contract import TranslationModel
from export.version_files import CERTIFICATE_FILE
from service.model.manifest import Precision

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


def make_random_base(folder: Path, precision: Precision = "int8") -> Path:
    """FOLDER/1: a Transformer base with a vocabulary of 32,000 invented words, by default in exact 8-bit form."""
    return write_version(folder, BASE_NAME, BASE, BASE_VOCABULARY, precision)


def random_base() -> TranslationModel:
    """The model of `make_random_base`, in torch."""
    torch.manual_seed(1)
    return build_model(BASE, BASE_VOCABULARY).eval()


def write_version(
    folder: Path, name: str, model_config: ModelConfiguration, vocabulary_size: int, precision: Precision
) -> Path:
    """FOLDER/1: a model with random weights and a vocabulary of invented words, uncertified."""
    data = DataConfiguration(source_language="en", target_language="de", licence="none", citation="none")
    config = TrainingConfiguration(name=name, data=data, model=model_config)
    torch.manual_seed(1)
    model = build_model(model_config, vocabulary_size).eval()
    folder.mkdir(parents=True)
    _write_vocabulary(folder / VOCABULARY_FILE, vocabulary_size)
    version = folder / "1"
    graphs = export_graphs(model)
    write_graphs(version, graphs.quantized() if precision == "int8" else graphs, vocabulary_of(folder))
    (version / CERTIFICATE_FILE).write_text("{}\n", encoding="utf-8")
    write_manifest(version, config, model, precision, name, 1)
    return version


def _write_vocabulary(path: Path, size: int) -> None:
    letters = random.Random(1)
    words = ["".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=8)) for _ in range(size + 100)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(" ".join(words[i : i + 20]) for i in range(0, len(words), 20)),
        model_prefix=str(path.with_suffix("")),
        vocab_size=size,
        model_type="word",
        pad_id=0,
        unk_id=1,
        bos_id=2,
        eos_id=3,
        minloglevel=2,
    )
