"""Writes the file of the weights that lie beside graphs, each once, whichever graphs have it. It knows no graphs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

ALIGNMENT = 4096
"""Of the place of a weight, as onnx.proto asks of data that are to be mapped."""


def aligned(place: int) -> int:
    """The next place that a weight may have."""
    return -(-place // ALIGNMENT) * ALIGNMENT


class WeightsWriter:
    """Makes the file with the first weight."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[bytes, int] = {}
        self._size = 0

    def add(self, weight: npt.NDArray[np.generic]) -> int:
        """Where its bytes lie in the file now, or did already."""
        content = np.ascontiguousarray(weight).reshape(-1).view(np.uint8).data
        key = hashlib.sha256(content).digest()
        if key not in self._places:
            place = aligned(self._size)
            with self.path.open("r+b" if self._places else "xb") as file:
                file.seek(place)
                file.write(content)
            self._places[key] = place
            self._size = place + len(content)
        return self._places[key]
