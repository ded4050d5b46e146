"""A decoder step with scripted results, instead of a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from service.engine.engine import Engine
from service.engine.runner import Runner
from service.engine.scheduler import Limits
from service.model.candidates import Candidates
from service.model.onnx_model import Floats
from service.model.slots import Encoded, Snapshot

END_ID = 3
UNENCODABLE_ID = 666
VOCABULARY_SIZE = 1000


class FakeRows:
    """Each row copies its source, one token a step, then ends the sentence: a source (7, 8, 3) gives 7, 8, 3."""

    def __init__(self, step_s: float = 0.0) -> None:
        self.step_s = step_s
        self.sources: list[list[int]] = []
        self.ages: list[int] = []
        self.rows_by_step: list[int] = []
        self.fail = False
        self.target_size = VOCABULARY_SIZE

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

    def wipe(self, row: int) -> None:
        pass

    def fork(self, rows: Sequence[int]) -> None:
        self.sources += [list(self.sources[row]) for row in rows]
        self.ages += [self.ages[row] for row in rows]

    def copy(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        for source, target in zip(sources, targets, strict=True):
            self.sources[target], self.ages[target] = list(self.sources[source]), self.ages[source]

    def carried(self, row: int) -> dict[str, Floats]:
        return {"age": np.array([self.ages[row]], np.float32)}

    def save(self, row: int) -> Snapshot:
        states = {"source": np.array(self.sources[row], np.float32)}
        return Snapshot(self.ages[row], len(self.sources[row]), None, states)

    def restore(self, snapshot: Snapshot, target_ids: Sequence[int], carried: Mapping[str, Floats]) -> None:
        self.sources.append(snapshot.states["source"].astype(int).tolist())
        self.ages.append(snapshot.position)
        self.rewind(len(self.sources) - 1, target_ids, carried)

    def rewind(self, row: int, target_ids: Sequence[int], carried: Mapping[str, Floats]) -> None:
        assert carried["age"] == len(target_ids)
        self.ages[row] = len(target_ids)

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
        wanted = [source[min(age, len(source) - 1)] for source, age in zip(self.sources, self.ages, strict=True)]
        ids = np.array([[token, 0] for token in wanted], np.int64)
        logits = np.full((len(ids), VOCABULARY_SIZE), -9.0, np.float32)
        logits[:, 0] = logits[np.arange(len(ids)), wanted] = 0.0
        width = max(map(len, self.sources))
        attention = np.zeros((len(ids), width), np.float32)
        attention[np.arange(len(ids)), np.minimum(self.ages, [len(source) - 1 for source in self.sources])] = 1.0
        self.ages = [age + 1 for age in self.ages]
        return Candidates(ids, np.full(ids.shape, -0.5, np.float32), logits, attention)

    def choose(self, token_ids: Sequence[int]) -> None:
        assert len(token_ids) == len(self.sources)


class RecordingObserver:
    """Keeps what the engine reports."""

    def __init__(self) -> None:
        self.num_rows = 0
        self.queue_length = self.queue_tokens = 0
        self.steps: list[int] = []
        self.encode_errors: list[BaseException] = []
        self.row_errors: list[BaseException] = []
        self.num_terminated = 0

    def joined(self, *, num_requests: int, seconds: float) -> None:
        pass

    def encode_failed(self, error: BaseException) -> None:
        self.encode_errors.append(error)

    def row_failed(self, error: BaseException) -> None:
        self.row_errors.append(error)

    def step_terminated(self) -> None:
        self.num_terminated += 1

    def step_made(self, *, num_rows: int, seconds: float) -> None:
        self.steps.append(num_rows)

    def load_changed(self, *, num_rows: int, queue_length: int, queue_tokens: int) -> None:
        self.num_rows, self.queue_length, self.queue_tokens = num_rows, queue_length, queue_tokens


@pytest.fixture
def rows() -> FakeRows:
    return FakeRows()


@pytest.fixture
def observer() -> RecordingObserver:
    return RecordingObserver()


@pytest.fixture
def make_engine(rows: FakeRows, observer: RecordingObserver) -> Callable[..., Engine]:
    def make(other_rows: FakeRows | None = None, *, niceness: int = 0, **limits: int) -> Engine:
        values = {"max_slots": 4, "max_encode_tokens": 256, "length_multiple": 16} | limits
        failures: list[BaseException] = []
        engine = Engine(
            "test",
            Runner(other_rows or rows, end_id=END_ID),
            Limits(**values),
            observer,
            on_failure=failures.append,
            niceness=niceness,
        )
        engine.failures = failures  # type: ignore[attr-defined]
        return engine

    return make
