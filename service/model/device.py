"""Moves rows in the memory of one device, by two graphs of one node each, so that they need not visit the host.

Everything is float32. It does not know what the rows are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from service.model.memory import Memory, Place, on_host
from service.model.session import CPU, Provider, Session, empty, zeros

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
GRAPHS = Path(__file__).parent / "graphs"


class Device:
    """The memory of a place, and what can be done to it."""

    def __init__(self, place: Place, providers: Sequence[Provider] = CPU) -> None:
        self.place = place
        self._gather_rows = Session(GRAPHS / "gather_rows.onnx", providers, 1)
        self._pad_rows = Session(GRAPHS / "pad_rows.onnx", providers, 1)

    def empty(self, shape: tuple[int, ...]) -> Memory:
        """Anything is in it."""
        return empty(self.place, shape)

    def zeros(self, shape: tuple[int, ...]) -> Memory:
        """Zeros are in it."""
        return zeros(self.place, shape)

    def gather(self, source: Memory, rows: Ids, target: Memory) -> None:
        """Row i of the target becomes row rows[i] of the source; none of them may be the same memory."""
        inputs = {"data": source.matrix(1), "rows": on_host(rows)}
        self._gather_rows.bind(inputs, {"gathered": target.matrix(1)}).run()

    def fit(self, source: Memory, axis: int, target: Memory) -> None:
        """The target becomes the source, whose shape differs along `axis` alone: cut there, or followed by zeros.
        Either may be memory of the host."""
        data, padded = source.matrix(axis), target.matrix(axis)
        pads = np.array([0, 0, 0, padded.shape[1] - data.shape[1]], np.int64)
        self._pad_rows.bind({"data": data, "pads": on_host(pads)}, {"padded": padded}).run()

    def read(self, source: Memory) -> Floats:
        """A copy in the memory of the host."""
        array = np.empty(source.shape, np.float32)
        self.fit(source, 1, on_host(array))
        return array
