"""The tensors of a JoeyNMT checkpoint, and which file of a folder it is."""

from __future__ import annotations

from pathlib import Path

import torch

from export.errors import ImportedModelError, one_line
from export.imports.weights import Weights
from export.joeynmt.configuration import CONFIGURATION_FILE

BEST = "best.ckpt"


class Checkpoint(Weights):
    """What N.ckpt holds of the model, by JoeyNMT's names; the training's own state is left out."""

    described_in = CONFIGURATION_FILE

    def __init__(self, path: Path) -> None:
        """Raises ImportedModelError for a file that is damaged, cut short, or none of JoeyNMT's."""
        self._path = path
        self.files = (path,)
        self._read, self._shapes = {}, {}
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:
            raise ImportedModelError(f"{path} is damaged, cut short, or no checkpoint: {one_line(error)}") from error
        tensors = content.get("model_state") if isinstance(content, dict) else None
        if not isinstance(tensors, dict):
            raise ImportedModelError(f"{path} is no checkpoint of JoeyNMT: it has no model_state")
        for name, tensor in tensors.items():
            if not isinstance(tensor, torch.Tensor):
                raise ImportedModelError(f"{path} is no checkpoint of JoeyNMT: {name} is no tensor")
            self._shapes[name] = tuple(tensor.shape)
            self._read[name] = tensor.clone

    def __reduce__(self) -> tuple[type[Checkpoint], tuple[Path]]:
        """Another process opens the file itself."""
        return Checkpoint, (self._path,)


def find_checkpoint(folder: Path, named: str | None) -> Path:
    """The file that the configuration names, the best one, or the one of the most steps; raises ImportedModelError."""
    if named is not None:
        path = folder / Path(named).name
        if not path.is_file():
            raise ImportedModelError(f"{folder} lacks {path.name}, which testing.load_model names")
        return path
    if (folder / BEST).is_file():
        return folder / BEST
    numbered = [path for path in folder.glob("*.ckpt") if path.stem.isdecimal() and path.is_file()]
    if not numbered:
        raise ImportedModelError(f"{folder} has no checkpoint: neither {BEST} nor N.ckpt")
    return max(numbered, key=lambda path: int(path.stem))
