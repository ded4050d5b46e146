"""The states of rows, by kind: in memory of the host here, in memory of a device in `device_states`.

It does not know which rows are in use, what they are called from, or what the graph computes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from service.model.manifest import Manifest, State
from service.model.memory import Memory, host_zeros, on_host
from service.model.onnx_model import Floats
from service.model.session import BoundGraph

Bindings = tuple[dict[str, Memory], dict[str, Memory]]
"""Inputs and outputs of the step graph by name."""


class States(Protocol):
    """Some states of up to max_rows rows. A row's states are put in, moved and taken out together."""

    def put(self, first: int, encoded: Mapping[str, Floats | Memory], count: int) -> None:
        """Give `count` rows from `first` on what the encoder made of their sources, and zeros behind them."""

    def move(self, sources: Sequence[int], targets: Sequence[int], *, age: int, same_source: bool) -> bool:
        """Make each target row what its source row is; no row is in both. age: entries of growing states to move;
        same_source: what the encoder made is the same already. True if the bindings are others now."""

    def take(self, row: int, *, source_length: int, age: int) -> dict[str, Floats]:
        """A copy of a row: source axes up to source_length, growing states up to age."""

    def put_back(self, row: int, taken: Mapping[str, Floats]) -> None:
        """Give a row what was taken out."""

    def carried(self, row: int) -> dict[str, Floats]:
        """A copy of the carried states that a row's next step reads."""

    def replace(self, row: int, carried: Mapping[str, Floats]) -> None:
        """Give a row other carried states."""

    def wipe(self, row: int, *, age: int) -> None:
        """Make the first `age` entries of growing states zero."""

    def resize(self, width: int, num_rows: int) -> None:
        """Give the source axes another length; the first num_rows rows keep what fits."""

    def bindings(self, num_rows: int) -> Bindings:
        """The first num_rows rows, which are all that are in use, for the step graph."""

    def window(self, first: int, stop: int) -> Bindings:
        """Some of the rows that were bound, for the step graph."""

    def advance(self, bound: BoundGraph, num_rows: int) -> None:
        """The step graph has run: what it made of the carried states is what its next run reads."""


class HostStates:
    """States in arrays. A step binds their first rows; nothing ever moves in memory but where the width changes."""

    def __init__(self, manifest: Manifest, states: Sequence[State], max_rows: int) -> None:
        self._manifest = manifest
        self._states = tuple(states)
        self._max_rows = max_rows
        self.arrays = {state.name: self._zeros(state, manifest.length_multiple) for state in states}
        self._new = {
            state.name: host_zeros(self.arrays[state.name].shape) for state in states if state.kind == "carried"
        }
        self._memory = {name: on_host(array) for name, array in self.arrays.items()}
        self._new_memory = {f"new_{name}": on_host(array) for name, array in self._new.items()}

    def put(self, first: int, encoded: Mapping[str, Floats | Memory], count: int) -> None:
        for state in self._states:
            target = self.arrays[state.name][first : first + count]
            if state.kind == "noise":
                target[...] = 0.0
            if state.kind in ("noise", "growing"):
                continue
            made = encoded[state.name]
            assert isinstance(made, np.ndarray)
            if "source_length" in state.axes:
                axis = state.axes.index("source_length")
                width = made.shape[axis]
                target[_along(axis, slice(width, None))] = 0.0
                target = target[_along(axis, slice(width))]
            target[...] = made

    def move(self, sources: Sequence[int], targets: Sequence[int], *, age: int, same_source: bool) -> bool:
        one, other = np.array(sources), np.array(targets)
        for state in self._states:
            if same_source and state.kind in ("constant", "noise"):
                continue
            array = self.arrays[state.name]
            if state.kind == "growing":
                array = array[_along(state.axes.index("capacity"), slice(age))]
            array[other] = array[one]
        return False

    def take(self, row: int, *, source_length: int, age: int) -> dict[str, Floats]:
        return {
            state.name: self.arrays[state.name][row][entries(state, source_length=source_length, age=age)].copy()
            for state in self._states
        }

    def put_back(self, row: int, taken: Mapping[str, Floats]) -> None:
        for state in self._states:
            target, saved = self.arrays[state.name][row], taken[state.name]
            if state.kind == "constant":
                target[...] = 0.0
            target[tuple(slice(size) for size in saved.shape)] = saved

    def carried(self, row: int) -> dict[str, Floats]:
        return {name: self.arrays[name][row].copy() for name in self._new}

    def replace(self, row: int, carried: Mapping[str, Floats]) -> None:
        for name in self._new:
            self.arrays[name][row] = carried[name]

    def wipe(self, row: int, *, age: int) -> None:
        for state in self._states:
            if state.kind == "growing":
                self.arrays[state.name][row][entries(state, source_length=0, age=age)] = 0.0

    def resize(self, width: int, num_rows: int) -> None:
        for state in self._states:
            if "source_length" not in state.axes:
                continue
            axis = state.axes.index("source_length")
            old, new = self.arrays[state.name], self._zeros(state, width)
            part = (slice(num_rows), *_along(axis - 1, slice(min(width, old.shape[axis]))))
            new[part] = old[part]
            self.arrays[state.name], self._memory[state.name] = new, on_host(new)

    def bindings(self, num_rows: int) -> Bindings:
        return self.window(0, num_rows)

    def window(self, first: int, stop: int) -> Bindings:
        inputs = {name: memory.rows(first, stop) for name, memory in self._memory.items()}
        growing = {f"new_{state.name}": inputs[state.name] for state in self._states if state.kind == "growing"}
        return inputs, growing | {name: memory.rows(first, stop) for name, memory in self._new_memory.items()}

    def advance(self, bound: BoundGraph, num_rows: int) -> None:  # noqa: ARG002
        for name, new in self._new.items():
            self.arrays[name][:num_rows] = new[:num_rows]

    def _zeros(self, state: State, width: int) -> Floats:
        shape = state.shape(batch=self._max_rows, source_length=width, capacity=self._manifest.capacity)
        return host_zeros(shape)


def entries(state: State, *, source_length: int, age: int) -> tuple[slice, ...]:
    """Of one row of a state: what lies before these places of its source axis or its capacity."""
    sizes = {"source_length": slice(source_length), "capacity": slice(age)}
    return tuple(sizes.get(str(axis), slice(None)) for axis in state.axes[1:])


def _along(axis: int, index: slice) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, index)
