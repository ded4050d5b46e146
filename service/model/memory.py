"""Where the numbers of a tensor are: in the memory of the host, or of a device. It does not touch them."""

from __future__ import annotations

import ctypes
import math
import mmap
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Place(NamedTuple):
    """A memory. device: its kind, as onnxruntime calls it ("cpu", "cuda"); number: which one of that kind."""

    device: str
    number: int


HOST = Place("cpu", 0)


class Memory(NamedTuple):
    """A tensor that lies in one piece. address: of its first byte; owner: what keeps the memory for it."""

    place: Place
    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    owner: object

    def rows(self, first: int, stop: int) -> Memory:
        """Entries of the first axis."""
        place, address, (_, *row), dtype, owner = self
        if first:
            address += first * math.prod(row) * dtype.itemsize
        return Memory(place, address, (stop - first, *row), dtype, owner)

    def matrix(self, axis: int) -> Memory:
        """The same with two axes: those before `axis` are one, the others are one."""
        return self._replace(shape=(math.prod(self.shape[:axis]), math.prod(self.shape[axis:])))


def host_zeros(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """float32 zeros in pages that are taken one by one when first touched. numpy would ask for huge pages: a row
    that has made a few tokens would then hold the memory of its whole capacity, and wait for it to be filled."""
    size = math.prod(shape)
    pages = mmap.mmap(-1, max(size, 1) * np.dtype(np.float32).itemsize)
    return np.frombuffer(pages, np.float32, size).reshape(shape)


def on_host(array: npt.NDArray[Any]) -> Memory:
    """The memory of an array that lies in one piece."""
    assert array.flags.c_contiguous
    return Memory(HOST, array.ctypes.data, array.shape, array.dtype, array)


def as_array(memory: Memory) -> npt.NDArray[Any]:
    """Memory of the host as the array that it is; whoever uses that keeps the memory's owner."""
    size = math.prod(memory.shape)
    held = (ctypes.c_byte * (size * memory.dtype.itemsize)).from_address(memory.address)
    array: npt.NDArray[Any] = np.frombuffer(memoryview(held), memory.dtype, size)
    return array.reshape(memory.shape)
