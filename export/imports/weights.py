"""The tensors of a folder of transformers, each read when it is asked for. It does not know what they are for."""

from __future__ import annotations

import ctypes
import json
import math
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from export.errors import ImportedModelError, one_line

SAFETENSORS, PICKLED = "model.safetensors", "pytorch_model.bin"


class Weights:
    """What MODEL.safetensors, or pytorch_model.bin, or the parts that an index of either names, hold: by name.
    described_in: what says how they belong together."""

    described_in = "config.json"
    _mapped: frozenset[str] = frozenset()
    """Tensors that lie in the pages of a file."""

    def __init__(self, folder: Path) -> None:
        """Raises ImportedModelError where there are none, and for a file that is damaged or cut short."""
        self._folder = folder
        self.files = _files(folder)
        self._read: dict[str, Callable[[], Tensor]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        for path in self.files:
            self._open(path)

    def __reduce__(self) -> tuple[type[Weights], tuple[Path]]:
        """Another process opens the files itself."""
        return Weights, (self._folder,)

    def _open(self, path: Path) -> None:
        try:
            if path.suffix == ".safetensors":
                opened: Any = safetensors.safe_open(path, framework="pt")
                for name in opened.keys():  # noqa: SIM118
                    self._shapes[name] = tuple(opened.get_slice(name).get_shape())
                    self._read[name] = _reader(opened, name)
                self._mapped |= frozenset(opened.keys())
                return
            tensors: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            for name, tensor in tensors.items():
                self._shapes[name] = tuple(tensor.shape)
                self._read[name] = tensor.clone
        except Exception as error:
            raise ImportedModelError(f"{path} is damaged or cut short: {one_line(error)}") from error

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._shapes)

    @property
    def num_elements(self) -> int:
        """Of all tensors together."""
        return sum(map(math.prod, self._shapes.values()))

    def shape(self, name: str) -> tuple[int, ...]:
        """Raises ImportedModelError for a tensor that is not there."""
        if name not in self._shapes:
            raise ImportedModelError(
                f"the checkpoint has no {name}: it is of another architecture than its {self.described_in}"
            )
        return self._shapes[name]

    def read(self, name: str) -> Tensor:
        """A tensor in float32; raises ImportedModelError."""
        whole = self._whole(name)
        single = whole.to(torch.float32)
        if single is not whole:
            self._let_go(name, whole)
        return single

    def copy(self, name: str, into: Tensor) -> None:
        """Into memory of its shape, and what the file has of it is in memory no more; raises ImportedModelError."""
        whole = self._whole(name)
        into.copy_(whole)
        self._let_go(name, whole)

    def _whole(self, name: str) -> Tensor:
        self.shape(name)
        try:
            return self._read[name]()
        except Exception as error:
            raise ImportedModelError(f"{name} cannot be read: {error}") from error

    def _let_go(self, name: str, tensor: Tensor) -> None:
        """Of the pages of its file that a tensor lies on, which come again where it is looked at again."""
        first = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
        madvise = getattr(ctypes.CDLL(None), "madvise", None)
        if name in self._mapped and end > first and madvise is not None:
            madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), mmap.MADV_DONTNEED)


def _reader(opened: Any, name: str) -> Callable[[], Tensor]:
    return lambda: opened.get_tensor(name)


def _files(folder: Path) -> tuple[Path, ...]:
    for name in (SAFETENSORS, PICKLED):
        if (folder / name).is_file():
            return (folder / name,)
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _parts(folder, index)
    raise ImportedModelError(f"{folder} has no weights: neither {SAFETENSORS} nor {PICKLED}, nor an index of either")


def _parts(folder: Path, index: Path) -> tuple[Path, ...]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ImportedModelError(f"{index} is no index of weights") from error
    for name in names:
        if Path(name).name != name:
            raise ImportedModelError(f"{index} names a file outside of the folder")
        if not (folder / name).is_file():
            raise ImportedModelError(f"{folder} lacks {name}, which {index.name} names")
    return tuple(folder / name for name in names)
