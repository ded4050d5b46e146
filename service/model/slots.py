"""The rows of a decoder step: every sequence in flight, its states, and the step that advances them all.

Rows 0..num_rows-1 are in use, always without a gap, so that a step computes exactly the rows in flight. It does
not know requests or how a token is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from service.model.manifest import State
from service.model.noise import gumbel_noise
from service.model.onnx_model import Array, BoundStep, Floats, Ids, OnnxModel
from service.model.row import Row


@dataclass(frozen=True)
class Candidates:
    """A step's results, for each row: ids and log_probabilities (rows, num_candidates), best first, logits (rows,
    vocabulary), and attention (rows, source_length), None from a model without any. Views that the next step
    overwrites."""

    ids: Ids
    log_probabilities: Floats
    logits: Floats
    attention: Floats | None

    def rows(self) -> list[Row]:
        """The same, row by row."""
        pairs = zip(self.ids.tolist(), self.log_probabilities.tolist(), self.logits, strict=True)
        return [Row(ids, log_probabilities, logits) for ids, log_probabilities, logits in pairs]


@dataclass(frozen=True)
class Encoded:
    """Sources that the encoder has read: lengths (rows,), the padded width of their source axes, and their states."""

    lengths: Ids
    width: int
    states: dict[str, Floats]


@dataclass(frozen=True)
class Snapshot:
    """One row, taken out of its slots: what it continues from, and its states, growing ones up to its position."""

    position: int
    source_length: int
    seed: int | None
    states: dict[str, Floats]


class Slots:
    """Owns the states of up to `max_rows` sequences of one model."""

    def __init__(self, model: OnnxModel, max_rows: int) -> None:
        manifest = model.manifest
        self._model = model
        self._manifest = manifest
        self.max_rows = max_rows
        self.num_rows = 0
        self._width = manifest.length_multiple
        self._token_ids = np.zeros(max_rows, np.int64)
        self._positions = np.zeros(max_rows, np.int64)
        self._source_lengths = np.zeros(max_rows, np.int64)
        self._seeds: list[int | None] = [None] * max_rows
        self._states = {state.name: self._zeros(state.name, self._width) for state in manifest.states}
        self._carried = tuple(state.name for state in manifest.states_of("carried"))
        self._new_carried = {name: np.zeros_like(self._states[name]) for name in self._carried}
        self._candidate_ids = np.zeros((max_rows, manifest.num_candidates), np.int64)
        self._candidate_log_probabilities = np.zeros((max_rows, manifest.num_candidates), np.float32)
        self._logits = np.zeros((max_rows, manifest.vocabulary.target_size), np.float32)
        self._noise = tuple(state.name for state in manifest.states_of("noise"))
        self._attention: Floats = np.zeros((max_rows, self._width), np.float32)
        self._bound: BoundStep | None = None

    def encode(self, sources: Sequence[Sequence[int]]) -> Encoded:
        """Encode sources together, each ending in the end of the sentence. No row changes."""
        lengths = np.array([len(source) for source in sources], np.int64)
        width = self._manifest.padded(int(lengths.max()))
        source_ids = np.zeros((len(sources), width), np.int64)
        for row, source in enumerate(sources):
            source_ids[row, : len(source)] = source
        return Encoded(lengths, width, self._model.encode(source_ids, lengths))

    def join(self, encoded: Encoded, seeds: Sequence[int | None] | None = None) -> None:
        """Give each encoded source a row, after the rows in use. A row with a seed draws what the model can draw; one
        without takes what is most probable."""
        window = slice(self.num_rows, self.num_rows + len(encoded.lengths))
        assert window.stop <= self.max_rows
        width = encoded.width
        self._resize(max(width, self._needed_width()))
        for state in self._manifest.states:
            if state.kind == "growing":
                continue
            target = self._states[state.name][window]
            if state.kind == "noise":
                target[...] = 0.0
                continue
            if "source_length" in state.axes:
                axis = state.axes.index("source_length")
                target[_along(axis, slice(width, None))] = 0.0
                target = target[_along(axis, slice(width))]
            target[...] = encoded.states[state.name]
        self._token_ids[window] = self._manifest.vocabulary.begin_id
        self._positions[window] = 0
        self._source_lengths[window] = encoded.lengths
        self._seeds[window] = seeds or [None] * len(encoded.lengths)
        self.num_rows = window.stop
        self._bound = None

    def leave(self, row: int) -> int:
        """Free a row. The last row moves into its place; returns the moved row's old index (`row` itself if none)."""
        assert 0 <= row < self.num_rows
        last = self.num_rows - 1
        if row != last:
            self._move([last], [row], self._manifest.states)
        self.num_rows = last
        self._bound = None
        return last

    def fork(self, rows: Sequence[int]) -> None:
        """Append a copy of each of these rows, after the rows in use."""
        if not rows:
            return
        first = self.num_rows
        assert first + len(rows) <= self.max_rows
        self._move(rows, range(first, first + len(rows)), self._manifest.states)
        self.num_rows += len(rows)
        self._bound = None

    def copy(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Make each target row what its source row is, for rows of the same source sentence; no row is in both."""
        self._move(sources, targets, self._manifest.states_of("carried", "growing"))

    def save(self, row: int) -> Snapshot:
        """A copy of a row that outlives it."""
        length, age = int(self._source_lengths[row]), int(self._positions[row])
        sizes = {"source_length": slice(self._manifest.padded(length)), "capacity": slice(age)}
        states = {
            state.name: self._states[state.name][row][
                tuple(sizes.get(str(a), slice(None)) for a in state.axes[1:])
            ].copy()
            for state in self._manifest.states
        }
        return Snapshot(age, length, self._seeds[row], states)

    def restore(self, snapshot: Snapshot, target_ids: Sequence[int], carried: Mapping[str, Floats]) -> None:
        """Append a row that goes on from a snapshot where its target began with target_ids, with the carried states of
        then."""
        row = self.num_rows
        assert row < self.max_rows
        self._resize(max(self._manifest.padded(snapshot.source_length), self._needed_width()))
        for state in self._manifest.states:
            saved = snapshot.states[state.name]
            target = self._states[state.name][row]
            if state.kind == "constant":
                target[...] = 0.0
            target[tuple(slice(size) for size in saved.shape)] = saved
        self._source_lengths[row] = snapshot.source_length
        self._seeds[row] = snapshot.seed
        self.num_rows += 1
        self._bound = None
        self._positions[row] = snapshot.position
        self.rewind(row, target_ids, carried)

    def rewind(self, row: int, target_ids: Sequence[int], carried: Mapping[str, Floats]) -> None:
        """Take a row back to where its target began with target_ids, with the carried states of then."""
        assert len(target_ids) <= self._positions[row]
        self._positions[row] = len(target_ids)
        self._token_ids[row] = target_ids[-1] if target_ids else self._manifest.vocabulary.begin_id
        for name, value in carried.items():
            self._states[name][row] = value

    def carried(self, row: int) -> dict[str, Floats]:
        """A copy of the carried states that a row's next step reads."""
        return {name: self._states[name][row].copy() for name in self._carried}

    def _move(self, sources: Sequence[int], targets: Sequence[int], states: Sequence[State]) -> None:
        if not sources:
            return
        one, other = np.array(sources), np.array(targets)
        age = int(self._positions[one].max())
        for state in states:
            array = self._states[state.name]
            if state.kind == "growing":
                array = array[_along(state.axes.index("capacity"), slice(age))]
            array[other] = array[one]
        for vector in (self._token_ids, self._positions, self._source_lengths):
            vector[other] = vector[one]
        for source, target in zip(sources, targets, strict=True):
            self._seeds[target] = self._seeds[source]

    def step(self) -> Candidates:
        """Advance every row by one position from its previous token."""
        if self._bound is None:
            self._resize(self._needed_width())
            self._bound = self._bind()
        self._draw_noise()
        self._bound.run()
        rows = slice(self.num_rows)
        for name in self._carried:
            self._states[name][rows] = self._new_carried[name][rows]
        self._positions[rows] += 1
        attention = None if self._manifest.attention is None else self._attention[rows]
        return Candidates(
            self._candidate_ids[rows], self._candidate_log_probabilities[rows], self._logits[rows], attention
        )

    def choose(self, token_ids: Sequence[int]) -> None:
        """The token that each row continues from."""
        self._token_ids[: self.num_rows] = token_ids

    def _draw_noise(self) -> None:
        for name in self._noise:
            for row, seed in enumerate(self._seeds[: self.num_rows]):
                if seed is not None:
                    length = int(self._source_lengths[row])
                    self._states[name][row, :length] = gumbel_noise(seed, int(self._positions[row]), length)

    def _bind(self) -> BoundStep:
        rows = slice(self.num_rows)
        states = {name: array[rows] for name, array in self._states.items()}
        inputs: dict[str, Array] = {
            "token_ids": self._token_ids[rows],
            "positions": self._positions[rows],
            "source_lengths": self._source_lengths[rows],
            **states,
        }
        outputs: dict[str, Array] = {
            "candidate_ids": self._candidate_ids[rows],
            "candidate_log_probabilities": self._candidate_log_probabilities[rows],
            "logits": self._logits[rows],
            **{f"new_{name}": array[rows] for name, array in self._new_carried.items()},
            **{f"new_{state.name}": states[state.name] for state in self._manifest.states_of("growing")},
        }
        if self._manifest.attention is not None:
            outputs["attention"] = self._attention[rows]
        return self._model.bind_step(inputs, outputs)

    def _needed_width(self) -> int:
        longest = int(self._source_lengths[: self.num_rows].max(initial=1))
        return self._manifest.padded(longest)

    def _resize(self, width: int) -> None:
        """Give the source axes room for `width`; what lies beyond a row's length is zero or never read.

        They shrink to half or less only, so that one long source among short ones does not move all states twice.
        """
        if width == self._width or self._width // 2 < width < self._width:
            return
        kept = min(width, self._width)
        for state in self._manifest.states_of("constant", "noise"):
            if "source_length" not in state.axes:
                continue
            axis = state.axes.index("source_length")
            old, new = self._states[state.name], self._zeros(state.name, width)
            part = (slice(self.num_rows), *_along(axis - 1, slice(kept)))
            new[part] = old[part]
            self._states[state.name] = new
        self._attention = np.zeros((self.max_rows, width), np.float32)
        self._width = width
        self._bound = None

    def _zeros(self, name: str, width: int) -> Floats:
        state = next(state for state in self._manifest.states if state.name == name)
        shape = state.shape(batch=self.max_rows, source_length=width, capacity=self._manifest.capacity)
        return np.zeros(shape, np.float32)


def _along(axis: int, index: slice) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, index)
