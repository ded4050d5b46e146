"""A checkpoint folder: configuration.toml, weights.safetensors (float16) and vocabulary.model.

The weights are stored in half precision and used in single: what is evaluated, exported and certified is
always the model that this file holds.
"""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import sentencepiece
import torch

from export.configuration import TrainingConfiguration, load_configuration
from export.models.build import build_model
from export.models.contract import TranslationModel

CONFIGURATION_FILE = "configuration.toml"
WEIGHTS_FILE = "weights.safetensors"
VOCABULARY_FILE = "vocabulary.model"


def save_weights(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """Replace the folder's weights in one step: a kill leaves the old file or the new one."""
    temporary = folder / (WEIGHTS_FILE + ".new")
    half = {name: tensor.detach().to("cpu", torch.float16).contiguous() for name, tensor in weights.items()}
    safetensors.torch.save_file(half, temporary)
    temporary.replace(folder / WEIGHTS_FILE)


def load_checkpoint(folder: Path) -> tuple[TrainingConfiguration, TranslationModel]:
    """The configuration and the model in evaluation mode; raises FileNotFoundError for a missing file and
    RuntimeError where weights and configuration disagree."""
    for name in (CONFIGURATION_FILE, WEIGHTS_FILE, VOCABULARY_FILE):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} is no checkpoint: {name} is missing")
    config = load_configuration(folder / CONFIGURATION_FILE)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / VOCABULARY_FILE))
    model = build_model(config.model, pieces.get_piece_size())
    weights = safetensors.torch.load_file(folder / WEIGHTS_FILE)
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return config, model.eval()
