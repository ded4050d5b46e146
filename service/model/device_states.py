"""The states of rows in memory of a device: see `service.model.states.States`.

Rows are moved when their states are needed next, all moves since then in one: row i becomes what row origins[i] was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from service.model.device import Device
from service.model.manifest import Manifest, State, StateKind
from service.model.memory import Memory, on_host
from service.model.onnx_model import Floats, Ids
from service.model.session import BoundGraph
from service.model.states import Bindings, entries


class DeviceStates:
    """States that a device keeps. Nothing visits the host but rows that are taken out and carried states that are read.

    Two memories of each carried state are bound in turns, one as the input and the other one as the output.
    """

    def __init__(self, manifest: Manifest, states: Sequence[State], max_rows: int, device: Device) -> None:
        self._manifest = manifest
        self._states = {state.name: state for state in states}
        self._max_rows = max_rows
        self._device = device
        self._memory = {
            state.name: (device.zeros if state.kind == "growing" else device.empty)(
                self._shape(state, manifest.length_multiple)
            )
            for state in states
        }
        self._new = {
            name: device.empty(self._memory[name].shape)
            for name, state in self._states.items()
            if state.kind == "carried"
        }
        self._spare: dict[tuple[int, ...], Memory] = {}
        self._origins: dict[StateKind, Ids] = {kind: np.arange(max_rows) for kind in ("constant", "carried", "growing")}
        self._num_used = 0

    def put(self, first: int, encoded: Mapping[str, Floats | Memory], count: int) -> None:
        self._settle()
        for name, state in self._states.items():
            if state.kind != "growing":
                made = encoded[name]
                assert isinstance(made, Memory)
                self._device.fit(made, _axis(state), self._memory[name].rows(first, first + count))
        self._num_used = max(self._num_used, first + count)

    def move(self, sources: Sequence[int], targets: Sequence[int], *, age: int, same_source: bool) -> bool:  # noqa: ARG002
        for kind, origins in self._origins.items():
            if not (same_source and kind == "constant"):
                origins[list(targets)] = origins[list(sources)]
        self._num_used = max(self._num_used, max(targets) + 1)
        return True

    def take(self, row: int, *, source_length: int, age: int) -> dict[str, Floats]:
        self._settle()
        return {
            name: self._read(name, row)[entries(state, source_length=source_length, age=age)].copy()
            for name, state in self._states.items()
        }

    def put_back(self, row: int, taken: Mapping[str, Floats]) -> None:
        self._settle()
        for name in self._states:
            self._write(name, row, taken[name])
        self._num_used = max(self._num_used, row + 1)

    def carried(self, row: int) -> dict[str, Floats]:
        self._settle()
        return {name: self._read(name, row) for name in self._new}

    def replace(self, row: int, carried: Mapping[str, Floats]) -> None:
        self._settle()
        for name in self._new:
            self._write(name, row, carried[name])

    def wipe(self, row: int, *, age: int) -> None:  # noqa: ARG002
        self._settle()
        for name, state in self._states.items():
            if state.kind == "growing":
                self._write(name, row, np.zeros(self._memory[name].shape[1:], np.float32))

    def resize(self, width: int, num_rows: int) -> None:
        self._settle()
        self._spare.clear()
        for name, state in self._states.items():
            if "source_length" not in state.axes:
                continue
            old, new = self._memory[name], self._device.empty(self._shape(state, width))
            if num_rows:
                self._device.fit(old.rows(0, num_rows), _axis(state), new.rows(0, num_rows))
            self._memory[name] = new

    def bindings(self, num_rows: int) -> Bindings:
        self._num_used = num_rows
        self._settle()
        return self.window(0, num_rows)

    def window(self, first: int, stop: int) -> Bindings:
        inputs = {name: memory.rows(first, stop) for name, memory in self._memory.items()}
        growing = {f"new_{name}": inputs[name] for name, state in self._states.items() if state.kind == "growing"}
        return inputs, growing | {f"new_{name}": memory.rows(first, stop) for name, memory in self._new.items()}

    def advance(self, bound: BoundGraph, num_rows: int) -> None:
        if not self._new:
            return
        for name, new in self._new.items():
            self._memory[name], self._new[name] = new, self._memory[name]
        bound.bind(
            {name: self._memory[name].rows(0, num_rows) for name in self._new},
            {f"new_{name}": memory.rows(0, num_rows) for name, memory in self._new.items()},
        )

    def _settle(self) -> None:
        """Make the moves that are due."""
        for kind, origins in self._origins.items():
            (moved,) = np.nonzero(origins[: self._num_used] != np.arange(self._num_used))
            if len(moved):
                for name, state in self._states.items():
                    if state.kind == kind:
                        self._gather(name, origins, int(moved[0]), int(moved[-1]) + 1)
            origins[:] = np.arange(self._max_rows)

    def _gather(self, name: str, origins: Ids, first: int, stop: int) -> None:
        """Move rows first to stop - 1: where they are, if none of them goes elsewhere, else with all rows in use into
        other memory."""
        memory = self._memory[name]
        rows = origins[first:stop]
        if not ((rows >= first) & (rows < stop)).any():
            self._device.gather(memory, rows, memory.rows(first, stop))
            return
        spare = self._spare.pop(memory.shape, None) or self._device.empty(memory.shape)
        self._device.gather(memory, origins[: self._num_used], spare.rows(0, self._num_used))
        self._memory[name], self._spare[memory.shape] = spare, memory

    def _read(self, name: str, row: int) -> Floats:
        array: Floats = self._device.read(self._memory[name].rows(row, row + 1))[0]
        return array

    def _write(self, name: str, row: int, value: Floats) -> None:
        """Zeros follow where the value is shorter than the row."""
        if value.size:
            source = on_host(np.ascontiguousarray(value[None]))
            self._device.fit(source, _axis(self._states[name]), self._memory[name].rows(row, row + 1))

    def _shape(self, state: State, width: int) -> tuple[int, ...]:
        return state.shape(batch=self._max_rows, source_length=width, capacity=self._manifest.capacity)


def _axis(state: State) -> int:
    """The axis whose length varies, or the one after the rows."""
    return next((place for place, axis in enumerate(state.axes) if place and isinstance(axis, str)), 1)
