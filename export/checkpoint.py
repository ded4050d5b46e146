"""A checkpoint folder: configuration.toml, weights.safetensors and vocabulary.model.

Weights are stored in half precision, or packed: matrices in 8 bits with one scale for each row, as the exact 8-bit
graphs have them. They are used in single precision: what is evaluated, exported and certified is always the model that
this file holds.
"""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import sentencepiece
import torch

from export.configuration import TrainingConfiguration, load_configuration
from export.errors import CheckpointError
from export.models.build import build_model
from export.models.contract import TranslationModel

CONFIGURATION_FILE = "configuration.toml"
WEIGHTS_FILE = "weights.safetensors"
VOCABULARY_FILE = "vocabulary.model"
SCALES = ".scales"
SMALLEST_SCALE = 1e-8
"""Stands in for the largest weight of a row of zeros."""


def save_weights(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """Replace the folder's weights in one step: a kill leaves the old file or the new one."""
    _save(folder, {name: tensor.detach().to("cpu", torch.float16).contiguous() for name, tensor in weights.items()})


def pack_weights(folder: Path) -> None:
    """Replace the folder's weights by their packed form, about half as large; packing again changes nothing."""
    stored = _read(folder)
    if any(tensor.dtype == torch.int8 for tensor in stored.values()):
        return
    packed = {}
    for name, half in stored.items():
        tensor = half.float()
        if tensor.dim() < 2:
            packed[name] = tensor.to(torch.float16)
            continue
        scales = tensor.abs().amax(-1, keepdim=True).clamp(min=SMALLEST_SCALE) / 127
        packed[name] = (tensor / scales).round().to(torch.int8)
        packed[name + SCALES] = scales
    _save(folder, packed)


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The folder's weights in single precision; raises FileNotFoundError, safetensors.SafetensorError, and RuntimeError
    for a matrix in 8 bits without its scales."""
    stored = _read(folder)
    packed = {name for name, tensor in stored.items() if tensor.dtype == torch.int8}
    scales = {name + SCALES for name in packed}
    if missing := sorted(scales - stored.keys()):
        raise RuntimeError(f"{folder / WEIGHTS_FILE} lacks {missing[0]}")
    return {
        name: tensor.float() * stored[name + SCALES] if name in packed else tensor.float()
        for name, tensor in stored.items()
        if name not in scales
    }


def _read(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / WEIGHTS_FILE)


def _save(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    temporary = folder / (WEIGHTS_FILE + ".new")
    safetensors.torch.save_file(tensors, temporary)
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
    model.load_state_dict(load_weights(folder))
    return config, model.eval()


def open_checkpoint(folder: Path) -> tuple[TrainingConfiguration, TranslationModel]:
    """As `load_checkpoint`, for a caller who named the folder; raises CheckpointError in one line."""
    try:
        return load_checkpoint(folder)
    except FileNotFoundError as error:
        raise CheckpointError(str(error)) from error
    except (OSError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{folder} cannot be loaded: {reason}") from error


def start_from(model: TranslationModel, folder: Path) -> list[str]:
    """Copy every weight of the checkpoint in FOLDER that `model` has in the same shape; the names of those that it does
    not have, which stay as they are. Raises as `load_weights` does."""
    weights = load_weights(folder)
    own = model.state_dict()
    fitting = {name: weights[name] for name in own if name in weights and weights[name].shape == own[name].shape}
    model.load_state_dict(own | fitting)
    return [name for name in own if name not in fitting]
