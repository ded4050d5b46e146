"""A decoder step with scripted results, instead of a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from service.engine.engine import Engine
from service.engine.runner import Runner
from service.engine.scheduler import Limits
from service.model.slots import Candidates, Encoded

END_ID = 3
UNENCODABLE_ID = 666


class FakeRows:
    """Each row copies its source, one token a step, then ends the sentence: a source (7, 8, 3) gives 7, 8, 3."""

    def __init__(self, step_s: float = 0.0) -> None:
        self.step_s = step_s
        self.sources: list[list[int]] = []
        self.ages: list[int] = []
        self.rows_by_step: list[int] = []
        self.fail = False

    @property
    def num_rows(self) -> int:
        return len(self.sources)

    def encode(self, sources: Sequence[Sequence[int]]) -> Encoded:
        if any(UNENCODABLE_ID in source for source in sources):
            raise ValueError("the encoder failed")
        lengths = np.array([len(source) for source in sources])
        return Encoded(lengths, 16, {"source": np.array([[*s, *[0] * 99][:99] for s in sources], np.float32)})

    def join(self, encoded: Encoded, seeds: Sequence[int | None]) -> None:
        for length, source in zip(encoded.lengths, encoded.states["source"], strict=True):
            self.sources.append(source[:length].astype(int).tolist())
            self.ages.append(0)

    def leave(self, row: int) -> int:
        last = len(self.sources) - 1
        self.sources[row], self.ages[row] = self.sources[last], self.ages[last]
        self.sources.pop()
        self.ages.pop()
        return last

    def step(self) -> Candidates:
        if self.fail:
            raise RuntimeError("the graph failed")
        time.sleep(self.step_s)
        self.rows_by_step.append(len(self.sources))
        ids = np.array([[s[age], 0] for s, age in zip(self.sources, self.ages, strict=True)], np.int64)
        width = max(map(len, self.sources))
        attention = np.zeros((len(ids), width), np.float32)
        attention[np.arange(len(ids)), self.ages] = 1.0
        self.ages = [age + 1 for age in self.ages]
        return Candidates(ids, np.full(ids.shape, -0.5, np.float32), attention)

    def choose(self, token_ids: Sequence[int]) -> None:
        assert len(token_ids) == len(self.sources)


class RecordingObserver:
    """Keeps what the engine reports."""

    def __init__(self) -> None:
        self.num_running = 0
        self.queue_length = 0
        self.steps: list[int] = []
        self.encode_errors: list[Exception] = []

    def joined(self, *, seconds: float) -> None:
        pass

    def encode_failed(self, error: Exception) -> None:
        self.encode_errors.append(error)

    def step_made(self, *, num_rows: int, seconds: float) -> None:
        self.steps.append(num_rows)

    def load_changed(self, *, num_running: int, queue_length: int) -> None:
        self.num_running, self.queue_length = num_running, queue_length


@pytest.fixture
def rows() -> FakeRows:
    return FakeRows()


@pytest.fixture
def observer() -> RecordingObserver:
    return RecordingObserver()


@pytest.fixture
def make_engine(rows: FakeRows, observer: RecordingObserver) -> Callable[..., Engine]:
    def make(**limits: int) -> Engine:
        values = {"max_slots": 4, "max_queue_length": 100, "max_encode_tokens": 256, "length_multiple": 16} | limits
        failures: list[BaseException] = []
        engine = Engine("test", Runner(rows, end_id=END_ID), Limits(**values), observer, on_failure=failures.append)
        engine.failures = failures  # type: ignore[attr-defined]
        return engine

    return make
