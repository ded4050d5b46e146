"""The rows of a decoder step: every sequence in flight, and the step that advances them all.

Rows 0..num_rows-1 are in use, always without a gap, so that a step computes exactly the rows in flight. It does
not know requests, how a token is chosen, or where the states are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from service.model.candidates import Candidates, Outputs
from service.model.culprits import ALL_ROWS_FAIL, run_apart
from service.model.device_states import DeviceStates
from service.model.errors import TokenRangeError
from service.model.memory import Memory, on_host
from service.model.noise import gumbel_noise
from service.model.onnx_model import Floats, Ids, OnnxModel
from service.model.session import BoundGraph
from service.model.states import Bindings, HostStates, States


@dataclass(frozen=True)
class Encoded:
    """Sources that the encoder has read: lengths (rows,), the padded width of their source axes, and their states."""

    lengths: Ids
    width: int
    states: Mapping[str, Floats | Memory]


@dataclass(frozen=True)
class Snapshot:
    """One row, taken out of its slots: what it continues from, and its states, growing ones up to its position."""

    position: int
    source_length: int
    seed: int | None
    states: dict[str, Floats]


class Slots:
    """Up to `max_rows` sequences of one model."""

    def __init__(self, model: OnnxModel, max_rows: int) -> None:
        manifest = model.manifest
        self._model = model
        self._manifest = manifest
        self.max_rows = max_rows
        self.target_size = manifest.vocabulary.target_size
        self.num_rows = 0
        self._width = manifest.length_multiple
        self._token_ids = np.zeros(max_rows, np.int64)
        self._positions = np.zeros(max_rows, np.int64)
        self._source_lengths = np.zeros(max_rows, np.int64)
        self._seeds: list[int | None] = [None] * max_rows
        kept = [state for state in manifest.states if state.name not in model.on_device]
        self._host = HostStates(manifest, kept, max_rows)
        self._groups: tuple[States, ...] = (self._host,)
        if model.on_device:
            moved = [state for state in manifest.states if state.name in model.on_device]
            self._groups = (self._host, DeviceStates(manifest, moved, max_rows, model.device))
        self._outputs = Outputs(model, max_rows, self._width)
        self._noise = tuple(state.name for state in manifest.states_of("noise"))
        self._bound: BoundGraph | None = None

    def encode(self, sources: Sequence[Sequence[int]]) -> Encoded:
        """Encode sources together, each ending in the end of the sentence. No row changes. Raises TokenRangeError."""
        lengths = np.array([len(source) for source in sources], np.int64)
        width = self._manifest.padded(int(lengths.max()))
        source_ids = np.zeros((len(sources), width), np.int64)
        for row, source in enumerate(sources):
            source_ids[row, : len(source)] = source
        if source_ids.min() < 0 or source_ids.max() >= self._manifest.vocabulary.source_size:
            raise TokenRangeError("a token of a source is not in the vocabulary")
        return Encoded(lengths, width, self._model.encode_in_place(source_ids, lengths))

    def join(self, encoded: Encoded, seeds: Sequence[int | None] | None = None) -> None:
        """Give each encoded source a row, after the rows in use. A row with a seed draws what the model can draw; one
        without takes what is most probable."""
        window = slice(self.num_rows, self.num_rows + len(encoded.lengths))
        assert window.stop <= self.max_rows
        self._resize(max(encoded.width, self._needed_width()))
        for states in self._groups:
            states.put(window.start, encoded.states, len(encoded.lengths))
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
            self._move([last], [row])
        self.num_rows = last
        self._bound = None
        return last

    def wipe(self, row: int) -> None:
        """Forget what a row that is about to leave has computed: attention weighs what lies behind the entries of a row
        with 0, and 0 times what is not finite is not 0."""
        for states in self._groups:
            states.wipe(row, age=int(self._positions[row]) + 1)

    def fork(self, rows: Sequence[int]) -> None:
        """Append a copy of each of these rows, after the rows in use."""
        if not rows:
            return
        first = self.num_rows
        assert first + len(rows) <= self.max_rows
        self._move(rows, range(first, first + len(rows)))
        self.num_rows += len(rows)
        self._bound = None

    def copy(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Make each target row what its source row is, for rows of the same source sentence; no row is in both."""
        self._move(sources, targets, same_source=True)

    def save(self, row: int) -> Snapshot:
        """A copy of a row that outlives it."""
        length, age = int(self._source_lengths[row]), int(self._positions[row])
        states: dict[str, Floats] = {}
        for group in self._groups:
            states |= group.take(row, source_length=self._manifest.padded(length), age=age)
        return Snapshot(age, length, self._seeds[row], states)

    def restore(self, snapshot: Snapshot, target_ids: Sequence[int], carried: Mapping[str, Floats]) -> None:
        """Append a row that goes on from a snapshot where its target began with target_ids, with the carried states of
        then."""
        row = self.num_rows
        assert row < self.max_rows
        self._resize(max(self._manifest.padded(snapshot.source_length), self._needed_width()))
        for states in self._groups:
            states.put_back(row, snapshot.states)
        self._source_lengths[row] = snapshot.source_length
        self._seeds[row] = snapshot.seed
        self._positions[row] = snapshot.position
        self.rewind(row, target_ids, carried)
        self.num_rows += 1
        self._bound = None

    def rewind(self, row: int, target_ids: Sequence[int], carried: Mapping[str, Floats]) -> None:
        """Take a row back to where its target began with target_ids, with the carried states of then."""
        assert len(target_ids) <= self._positions[row]
        self._positions[row] = len(target_ids)
        self._token_ids[row] = target_ids[-1] if target_ids else self._manifest.vocabulary.begin_id
        for states in self._groups:
            states.replace(row, carried)

    def skip(self, row: int, position: int) -> None:
        """Let a row go on at a later position as if it had come there, from states that nobody has computed."""
        self._positions[row] = position

    def carried(self, row: int) -> dict[str, Floats]:
        """A copy of the carried states that a row's next step reads."""
        carried: dict[str, Floats] = {}
        for states in self._groups:
            carried |= states.carried(row)
        return carried

    def _move(self, sources: Sequence[int], targets: Sequence[int], *, same_source: bool = False) -> None:
        if not sources:
            return
        one, other = np.array(sources), np.array(targets)
        age = int(self._positions[one].max())
        for states in self._groups:
            if states.move(sources, targets, age=age, same_source=same_source):
                self._bound = None
        for vector in (self._token_ids, self._positions, self._source_lengths):
            vector[other] = vector[one]
        for source, target in zip(sources, targets, strict=True):
            self._seeds[target] = self._seeds[source]

    def step(self) -> Candidates:
        """Advance every row by one position from its previous token.

        If the graph fails on all rows together, it runs on parts of them. A run can be repeated: it reads the
        tokens, the positions and the carried states, which change only here, after it, and writes besides its results
        the new carried states and the entries of growing states at the positions, which nothing reads before they are
        written.
        """
        num_rows = self.num_rows
        if self._bound is None:
            self._resize(self._needed_width())
            self._bound = self._bind(0, num_rows, [states.bindings(num_rows) for states in self._groups])
        self._draw_noise()
        failed, culprits = None, dict[int, Exception]()
        try:
            self._bound.run()
        except ALL_ROWS_FAIL:
            raise
        except Exception as error:
            failed, culprits = error, run_apart(self._run_window, num_rows)
        for states in self._groups:
            states.advance(self._bound, num_rows)
        self._positions[:num_rows] += 1
        return self._outputs.candidates(num_rows, error=failed, culprits=culprits)

    def choose(self, token_ids: Sequence[int]) -> None:
        """The token that each row continues from, each in the target vocabulary."""
        self._token_ids[: self.num_rows] = token_ids

    def _draw_noise(self) -> None:
        for name in self._noise:
            for row, seed in enumerate(self._seeds[: self.num_rows]):
                if seed is not None:
                    length = int(self._source_lengths[row])
                    self._host.arrays[name][row, :length] = gumbel_noise(seed, int(self._positions[row]), length)

    def _run_window(self, first: int, stop: int) -> None:
        self._bind(first, stop, [states.window(first, stop) for states in self._groups]).run()

    def _bind(self, first: int, stop: int, states: Sequence[Bindings]) -> BoundGraph:
        rows = slice(first, stop)
        inputs = {
            "token_ids": on_host(self._token_ids[rows]),
            "positions": on_host(self._positions[rows]),
            "source_lengths": on_host(self._source_lengths[rows]),
        }
        outputs = self._outputs.bindings(first, stop)
        for more_inputs, more_outputs in states:
            inputs |= more_inputs
            outputs |= more_outputs
        return self._model.bind_step_memory(inputs, outputs)

    def _needed_width(self) -> int:
        longest = int(self._source_lengths[: self.num_rows].max(initial=1))
        return self._manifest.padded(longest)

    def _resize(self, width: int) -> None:
        """Give the source axes room for `width`; what lies beyond a row's length is zero or never read.

        They shrink to less than half only, so that one long source among short ones does not move all states twice.
        """
        if width == self._width or self._width // 2 <= width < self._width:
            return
        for states in self._groups:
            states.resize(width, self.num_rows)
        self._outputs.resize(width)
        self._width = width
        self._bound = None
