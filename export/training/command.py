"""What the command `train` checks before any process starts, so that a caller's mistake is one clear line."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pydantic import ValidationError

from export.configuration import DataConfiguration, TrainingConfiguration, load_configuration
from export.errors import ConfigurationError
from export.training.data import read_parallel


def read_configuration(path: Path) -> TrainingConfiguration:
    """Read and check a configuration; raises ConfigurationError naming the first key that is wrong."""
    try:
        return load_configuration(path)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigurationError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error


def require_corpus(corpus: Path, data: DataConfiguration) -> None:
    """Raises CorpusError where the training or validation split cannot be read or its sides differ in length."""
    for split in (data.train, data.validation):
        read_parallel(corpus, split, data)


def make_fabric(accelerator: str, devices: str, num_nodes: int, precision: str) -> Fabric:
    """Devices, processes and precision of a run; raises ConfigurationError for what is not to be had here."""
    if devices == "auto" and "LOCAL_WORLD_SIZE" in os.environ:  # torchrun has started the processes already
        devices = os.environ["LOCAL_WORLD_SIZE"]
    try:
        return Fabric(accelerator=accelerator, devices=devices, num_nodes=num_nodes, precision=precision)  # type: ignore[arg-type]
    except (ValueError, TypeError, RuntimeError, MisconfigurationException) as error:
        raise ConfigurationError(f"these devices cannot be used: {str(error).splitlines()[0]}") from error
