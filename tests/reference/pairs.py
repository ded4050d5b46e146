"""Two models whose rows go through the same joins, steps, copies and edits, and must give the same results."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from hypothesis import strategies as st

from service.model.onnx_model import Floats, OnnxModel
from service.model.slots import Slots, Snapshot

END, VOCABULARY_SIZE = 3, 40
MAX_ROWS = 7
MAX_SOURCE_LENGTH = 40
ACTIONS = ("join", "step", "step", "step", "leave", "fork", "copy", "save", "restore", "rewind", "read")
ACTION_LISTS = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 2**32 - 1)), min_size=5, max_size=40)


def long_play(seed: int, length: int = 400) -> list[tuple[str, int]]:
    """Actions as in ACTION_LISTS, far more of them."""
    rng = random.Random(seed)
    return [(rng.choice(ACTIONS), rng.getrandbits(32)) for _ in range(length)]


@dataclass
class Line:
    """What a row has gone through: the number of its source, its tokens, and its carried states before each of them and
    after the last."""

    source: int
    token_ids: list[int] = field(default_factory=list)
    carried: list[dict[str, Floats]] = field(default_factory=list)

    def copy(self) -> Line:
        return replace(self, token_ids=list(self.token_ids), carried=list(self.carried))


class Pair:
    """tolerance: the largest difference of two numbers. Where it is 0 the candidates must be the same tokens."""

    def __init__(self, one: OnnxModel, other: OnnxModel, tolerance: float = 0.0) -> None:
        self.one, self.other = Slots(one, MAX_ROWS), Slots(other, MAX_ROWS)
        self.both = (self.one, self.other)
        self.tolerance = tolerance
        self.max_length = one.manifest.max_target_length
        self.lines: list[Line] = []
        self.saved: list[tuple[Line, tuple[Snapshot, ...]]] = []
        self.num_sources = 0
        self.num_steps = 0

    def play(self, actions: Sequence[tuple[str, int]]) -> None:
        for action, seed in (("join", 0), *actions, ("step", 0), ("read", 0)):
            getattr(self, action)(random.Random(seed))

    def join(self, rng: random.Random) -> None:
        for _ in range(rng.randint(1, 2)):
            count = min(rng.randint(1, 3), MAX_ROWS - len(self.lines))
            if not count:
                return
            lengths = [rng.choice((1, 2, 5, 15, 16, 17, MAX_SOURCE_LENGTH)) for _ in range(count)]
            sources = [[*rng.choices(range(4, VOCABULARY_SIZE), k=length - 1), END] for length in lengths]
            seeds = [rng.choice((None, 0, 7)) for _ in sources]
            for slots in self.both:
                slots.join(slots.encode(sources), seeds)
            first = len(self.lines)
            for row in range(first, first + count):
                self.num_sources += 1
                self.lines.append(Line(self.num_sources, carried=[self.one.carried(row)]))

    def step(self, rng: random.Random) -> None:
        for row in reversed(range(len(self.lines))):
            if len(self.lines[row].token_ids) == self.max_length:
                self._leave(row)
        if not self.lines:
            return
        self.num_steps += 1
        one, other = (slots.step() for slots in self.both)
        if not self.tolerance:
            np.testing.assert_array_equal(one.ids, other.ids)
        self._same(one.log_probabilities, other.log_probabilities)
        if rng.random() < 0.7:
            self._same(one.logits, other.logits)
            self._same([row.best(20) for row in one.rows()], [row.best(20) for row in other.rows()])
        if one.attention is not None:
            self._same(one.attention, other.attention)
        token_ids = rng.choices(range(4, VOCABULARY_SIZE), k=len(self.lines))
        for slots in self.both:
            slots.choose(token_ids)
        for row, (line, token_id) in enumerate(zip(self.lines, token_ids, strict=True)):
            line.token_ids.append(token_id)
            line.carried.append(self.one.carried(row))

    def leave(self, rng: random.Random) -> None:
        for _ in range(min(len(self.lines), rng.randint(1, 3))):
            self._leave(rng.randrange(len(self.lines)))

    def fork(self, rng: random.Random) -> None:
        rows = rng.choices(range(len(self.lines)), k=min(3, MAX_ROWS - len(self.lines))) if self.lines else []
        for slots in self.both:
            slots.fork(rows)
        self.lines += [self.lines[row].copy() for row in rows]

    def copy(self, rng: random.Random) -> None:
        sources, targets = [], []
        for source in sorted({line.source for line in self.lines}):
            rows = [row for row, line in enumerate(self.lines) if line.source == source]
            rng.shuffle(rows)
            half = len(rows) // 2
            sources += rng.choices(rows[half:], k=half)
            targets += rows[:half]
        for slots in self.both:
            slots.copy(sources, targets)
        for one, other in zip(sources, targets, strict=True):
            self.lines[other] = self.lines[one].copy()

    def save(self, rng: random.Random) -> None:
        if self.lines:
            row = rng.randrange(len(self.lines))
            one, other = (slots.save(row) for slots in self.both)
            assert one.states.keys() == other.states.keys()
            for name, value in one.states.items():
                self._same(value, other.states[name])
            self.saved.append((self.lines[row].copy(), (one, other)))

    def restore(self, rng: random.Random) -> None:
        if self.saved and len(self.lines) < MAX_ROWS:
            line, snapshots = rng.choice(self.saved)
            line, carried = self._back(line, rng)
            for slots, snapshot in zip(self.both, snapshots, strict=True):
                slots.restore(snapshot, line.token_ids, carried)
            self.lines.append(line)

    def rewind(self, rng: random.Random) -> None:
        if self.lines:
            row = rng.randrange(len(self.lines))
            self.lines[row], carried = self._back(self.lines[row], rng)
            for slots in self.both:
                slots.rewind(row, self.lines[row].token_ids, carried)

    def read(self, rng: random.Random) -> None:
        for row in range(len(self.lines)):
            one, other = (slots.carried(row) for slots in self.both)
            assert one.keys() == other.keys()
            for name, value in one.items():
                self._same(value, other[name])

    def _leave(self, row: int) -> None:
        assert {slots.leave(row) for slots in self.both} == {len(self.lines) - 1}
        self.lines[row] = self.lines[-1]
        self.lines.pop()

    def _back(self, line: Line, rng: random.Random) -> tuple[Line, dict[str, Floats]]:
        kept = rng.randint(0, len(line.token_ids))
        line = replace(line, token_ids=line.token_ids[:kept], carried=line.carried[: kept + 1])
        return line, line.carried[-1]

    def _same(self, one: object, other: object) -> None:
        if self.tolerance:
            np.testing.assert_allclose(one, other, rtol=0.0, atol=self.tolerance)
        else:
            np.testing.assert_array_equal(one, other)
