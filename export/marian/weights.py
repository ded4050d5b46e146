"""The tensors and the configuration of a MODEL.npz of Marian, each tensor read when it is asked for."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from export.errors import ImportedModelError, one_line
from export.imports.weights import Weights

CONFIGURATION = "special:model.yml"
EMBEDDING = "Wemb"
"""How the names of all embeddings end."""
BEGIN_ROW, BEGIN_BIAS = "special:begin_row", "special:begin_bias"
"""Names of zeros, as large as a row of an embedding and its bias: nothing is embedded before the first token."""


class MarianWeights(Weights):
    """Matrices as torch has them, (output, input), where Marian has (input, output); rows of one vector as vectors."""

    described_in = CONFIGURATION

    def __init__(self, path: Path) -> None:
        """Raises ImportedModelError for a file that is not Marian's, is damaged or cut short."""
        self._path = path
        self.files = (path,)
        self._read: dict[str, Callable[[], Tensor]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        _require_npz(path)
        try:
            with zipfile.ZipFile(path) as archive:
                if (damaged := archive.testzip()) is not None:
                    raise ImportedModelError(f"{path} is damaged: {damaged}")
                for member in archive.namelist():
                    self._add(archive, member)
            self._add_begin()
        except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
            raise ImportedModelError(f"{path} is damaged or cut short: {one_line(error)}") from error

    def __reduce__(self) -> tuple[type[MarianWeights], tuple[Path]]:
        """Another process opens the file itself."""
        return MarianWeights, (self._path,)

    def _add(self, archive: zipfile.ZipFile, member: str) -> None:
        name = member.removesuffix(".npy")
        if name.startswith("special:"):
            return
        shape = _shape(archive, member)
        turned = _is_turned(name, shape)
        self._shapes[name] = (shape[1], shape[0]) if turned else (shape[1:] if shape[:1] == (1,) else shape)
        self._read[name] = lambda: self._tensor(member, turned).reshape(self._shapes[name])

    def _tensor(self, member: str, turned: bool) -> Tensor:
        with zipfile.ZipFile(self._path) as archive, archive.open(member) as opened:
            read = torch.from_numpy(npy.read_array(opened, allow_pickle=False).astype(np.float32, copy=False))
        return read.T.contiguous() if turned else read

    def _add_begin(self) -> None:
        """The zeros that an embedding and its bias have for what a target begins with."""
        hidden = {shape[-1] for name, shape in self._shapes.items() if name.endswith(EMBEDDING)}
        for name, shape in ((BEGIN_ROW, (1, max(hidden, default=1))), (BEGIN_BIAS, (1,))):
            self._shapes[name] = shape
            self._read[name] = lambda shape=shape: torch.zeros(shape)  # type: ignore[misc]


def read_configuration(path: Path) -> str:
    """The YAML in a MODEL.npz; raises ImportedModelError."""
    _require_npz(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if f"{CONFIGURATION}.npy" not in archive.namelist():
                raise ImportedModelError(f"{path} has no {CONFIGURATION}: it is no model that Marian saved")
            with archive.open(f"{CONFIGURATION}.npy") as opened:
                content = npy.read_array(opened, allow_pickle=False).tobytes()
    except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
        raise ImportedModelError(f"{path} is damaged or cut short: {one_line(error)}") from error
    return content.rstrip(b"\0").decode("utf-8", errors="replace")


def _require_npz(path: Path) -> None:
    if path.suffix == ".bin":
        raise ImportedModelError(
            f"{path} is of Marian's binary format, whose weights may be rounded to 8 bits already: "
            "take the MODEL.npz that it was converted from"
        )
    if not path.is_file():
        raise ImportedModelError(f"{path} is no file; it is to be the MODEL.npz that Marian's training saved")


def _shape(archive: zipfile.ZipFile, member: str) -> tuple[int, ...]:
    with archive.open(member) as opened:
        major, _ = npy.read_magic(opened)
        read_header = npy.read_array_header_1_0 if major == 1 else npy.read_array_header_2_0
        shape, _, dtype = read_header(opened)
    if dtype.kind != "f" or math.prod(shape) == 0:
        raise ImportedModelError(f"{member} holds no floating-point numbers, which is not supported")
    return tuple(shape)


def _is_turned(name: str, shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and shape[0] > 1 and not name.endswith((EMBEDDING, "_Wt"))
