"""Promises 1, 2 and 11: whatever happens to requests, and in whatever order, each has one ending, no row is lost, and
those that are left alone get what they would get by themselves."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.engine.engine import Engine
from service.engine.request import Decoding, Sampling, StepResult
from service.engine.runner import Runner
from service.engine.scheduler import Limits
from service.errors import (
    DeadlineExceededError,
    EncodeFailedError,
    QueueFullError,
    RequestFailedError,
    ServiceError,
)
from service.model.candidates import Candidates
from service.model.onnx_model import OnnxModel
from service.model.slots import Slots
from tests.unit.engine.conftest import END_ID, UNENCODABLE_ID, FakeRows, RecordingObserver

ROOT = Path(__file__).parents[2]
LONG_S = 120.0
MAX_SLOTS = 6
NUM_REQUESTS = 60
FAKE, REAL = "fake", ("en-de-transformer", "en-de-general", "en-de-hard")
DECODINGS = (
    Decoding(12),
    Decoding(12, beam_size=3, num_hypotheses=2),
    Decoding(12, sampling=Sampling(temperature=1.3), num_hypotheses=2),
    Decoding(9, alternatives=True, num_hypotheses=3),
)


@dataclass
class Plan:
    """What one request is, and what shall happen to it. until: results that it lives to see, then it is closed;
    bad_at: the step from its joining at which its rows go bad."""

    source: tuple[int, ...]
    decoding: Decoding
    seed: int
    start_s: float
    until: int | None = None
    deadline_s: float | None = None
    bad_at: int | None = None
    edits: tuple[tuple[int, ...], ...] = ()
    results: list[StepResult] = field(default_factory=list)
    ending: BaseException | None = None
    has_ended: bool = False

    @property
    def is_left_alone(self) -> bool:
        return (self.until, self.deadline_s, self.bad_at) == (None,) * 3 and UNENCODABLE_ID not in self.source

    @property
    def events(self) -> list[Any]:
        """What must not depend on others: everything but times and, after edits, how far each beginning came."""
        if self.edits:
            return [[one.tokens for one in self.results[-1].hypotheses]]
        return [(one.first_index, one.settled, one.tentative, one.hypotheses) for one in self.results]


def make_plans(draw: random.Random, token_ids: range, *, with_unencodable: bool) -> list[Plan]:
    """Requests of every kind; about half of them have an accident."""
    plans = []
    for number in range(NUM_REQUESTS):
        length = 2 + number % 14
        plan = Plan(
            (*(draw.choice(token_ids) for _ in range(length)), END_ID),
            draw.choice(DECODINGS),
            draw.randrange(2**32),
            draw.uniform(0, 0.6),
        )
        match draw.randrange(10):
            case 0 | 1:
                plan.until = draw.randrange(4)
            case 2:
                plan.deadline_s = draw.uniform(0, 0.1)
            case 3 | 4:
                plan.bad_at = draw.randrange(5)
            case 5 if with_unencodable:
                plan.source = (UNENCODABLE_ID, *plan.source[1:])
            case 6 | 7:
                plan.decoding = DECODINGS[0]
                plan.edits = tuple(
                    tuple(draw.choice(token_ids) for _ in range(draw.randrange(4))) for _ in range(draw.randrange(1, 4))
                )
                plan.until = draw.choice((None, None, 1))
        plans.append(plan)
    return plans


class Mischief:
    """Spoils the rows of some sources when they have some age, each in one of the ways in which a row can go bad."""

    def __init__(self, plans: list[Plan], draw: random.Random) -> None:
        self._plans = {plan.source: plan for plan in plans if plan.bad_at is not None}
        self._draw = random.Random(draw.random())

    def is_due(self, source: tuple[int, ...], age: int) -> bool:
        return source in self._plans and age >= (self._plans[source].bad_at or 0)

    def way(self) -> str:
        return self._draw.choice(("nan", "culprit"))


class BadFakeRows(FakeRows):
    """Fake rows that go bad."""

    def __init__(self) -> None:
        super().__init__(step_s=0.002)
        self.mischief: Mischief

    def step(self) -> Candidates:
        due = [
            row
            for row, (source, age) in enumerate(zip(self.sources, self.ages, strict=True))
            if self.mischief.is_due(tuple(source), age)
        ]
        made = super().step()
        culprits: dict[int, Exception] = {}
        for row in due:
            if self.mischief.way() == "nan":
                made.log_probabilities[row] = np.nan
            else:
                culprits[row] = RuntimeError("the graph failed")
        error = RuntimeError("the batch failed") if culprits else None
        return Candidates(made.ids, made.log_probabilities, made.logits, made.attention, error=error, culprits=culprits)


class BadSlots(Slots):
    """Real rows of a real bundle that go bad: NaN in what the encoder made, or a token that makes onnxruntime fail."""

    mischief: Mischief

    def __init__(self, model: OnnxModel, max_rows: int) -> None:
        super().__init__(model, max_rows)
        self._known: list[tuple[int, ...]] = []

    def encode(self, sources: Any) -> Any:
        self._known += [tuple(source) for source in sources]
        return super().encode(sources)

    def step(self) -> Candidates:
        for row in range(self.num_rows):
            age = int(self._positions[row])
            due = [
                source
                for source in self._known
                if len(source) == self._source_lengths[row] and self.mischief.is_due(source, age)
            ]
            if due and self._is_of(row, due):
                if self.mischief.way() == "nan":
                    for state in self._manifest.states_of("constant"):
                        self._host.arrays[state.name][row] = np.nan
                else:
                    self._token_ids[row] = 10**6
        return super().step()

    def _is_of(self, row: int, sources: list[tuple[int, ...]]) -> bool:
        """Whether a row is of one of some sources: what the encoder makes of a source is the same every time."""
        name = self._manifest.states_of("constant")[0].name
        held = self._host.arrays[name][row]
        for source in sources:
            made = super().encode([source]).states[name]
            assert isinstance(made, np.ndarray)
            if np.array_equal(held[tuple(slice(size) for size in made[0].shape)], made[0]):
                return True
        return False


async def live(engine: Engine, plan: Plan) -> None:
    """One request from its beginning to its ending, which may not come twice."""
    await asyncio.sleep(plan.start_s)
    deadline = None if plan.deadline_s is None else time.monotonic() + plan.deadline_s
    edit: Callable[[tuple[int, ...]], None] | None = None
    if plan.edits:
        editable = engine.translate_editable(plan.source, plan.decoding, seed=plan.seed, include_attention=True)
        results, edit = editable.results, editable.edit
    else:
        results = engine.translate(
            plan.source, plan.decoding, deadline=deadline, seed=plan.seed, include_attention=True
        )
    edits = list(plan.edits)
    try:
        async for result in results:
            assert not plan.has_ended
            plan.results.append(result)
            if edit is not None and edits and (result.is_last or len(edits) % 2):
                edit(edits.pop(0))
            elif result.is_last and result.edit == len(plan.edits):
                plan.has_ended = not plan.edits
                if plan.edits:
                    break
            if plan.until is not None and len(plan.results) >= plan.until:
                break
    except ServiceError as error:
        plan.ending = error
    finally:
        await results.aclose()
        await results.aclose()


async def alone(make_rows: Callable[[], Any], plan: Plan) -> Plan:
    """The same request in an engine of its own."""
    undisturbed = Plan(plan.source, plan.decoding, plan.seed, 0.0, edits=plan.edits)
    if plan.edits:
        undisturbed.decoding = Decoding(plan.decoding.max_length, prefix=plan.edits[-1])
        undisturbed.edits = ()
    engine, _, _ = make_engine(make_rows(), [undisturbed])
    engine.start()
    await live(engine, undisturbed)
    assert await engine.stop()
    if plan.edits:
        undisturbed.edits = plan.edits
    return undisturbed


def make_engine(rows: Any, plans: list[Plan]) -> tuple[Engine, Runner, list[BaseException]]:
    rows.mischief = Mischief(plans, random.Random(len(plans)))
    runner, failures = Runner(rows, end_id=END_ID), list[BaseException]()
    limits = Limits(max_slots=MAX_SLOTS, max_encode_tokens=64, length_multiple=16)
    return Engine("mischief", runner, limits, RecordingObserver(), on_failure=failures.append), runner, failures


def check_owners(runner: Runner, rows: Any) -> None:
    """Every row has one owner, who knows where it is."""
    assert len(runner._owners) == rows.num_rows
    for row, owner in enumerate(runner._owners):
        assert owner.rows.count(row) == 1
    assert sum(len(running.rows) for running in runner._running.values()) == rows.num_rows


@pytest.fixture(params=[FAKE, *REAL])
async def make_rows(request: pytest.FixtureRequest) -> AsyncIterator[Callable[[], Any]]:
    if request.param == FAKE:
        yield BadFakeRows
    else:
        model = OnnxModel(ROOT / "model_store" / request.param / "1", num_threads=1)
        yield lambda: BadSlots(model, MAX_SLOTS)


@pytest.mark.fault(45, 46, 47, 51, 52)
@pytest.mark.parametrize("seed", range(3))
async def test_mischief_of_every_kind_ends_each_request_once_and_changes_no_other(
    make_rows: Callable[[], Any], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixty requests of every search are closed, edited, timed out and spoiled at every phase, on fake rows and on
    real bundles: each has one ending, no row is lost, every survivor's events are those of a request alone."""
    threads_before = threading.active_count()
    draw = random.Random(seed)
    rows = make_rows()
    is_fake = isinstance(rows, FakeRows)
    token_ids = range(10, 600) if is_fake else range(10, 2000)
    plans = make_plans(draw, token_ids, with_unencodable=is_fake)
    engine, runner, failures = make_engine(rows, plans)
    broken: list[BaseException] = []
    real_step = Runner.step

    def step(self: Runner) -> Any:
        results = real_step(self)
        if self is runner:
            try:
                check_owners(runner, rows)
            except AssertionError as error:
                broken.append(error)
        return results

    monkeypatch.setattr(Runner, "step", step)
    engine.start()
    async with asyncio.timeout(LONG_S):
        await asyncio.gather(*(live(engine, plan) for plan in plans))
        while rows.num_rows or runner._running or runner._parked:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert engine.is_healthy
    assert await engine.stop()
    assert not broken
    assert not failures
    assert engine.num_rows_promised == 0
    assert not runner._owners
    assert not engine._mailboxes.ids()
    endings = [(plan.bad_at, type(plan.ending)) for plan in plans]
    assert sum(kind is RequestFailedError for _, kind in endings) >= 2
    survivors = [plan for plan in plans if plan.is_left_alone]
    for plan in plans:
        assert isinstance(
            plan.ending, DeadlineExceededError | EncodeFailedError | QueueFullError | RequestFailedError | None
        )
        if isinstance(plan.ending, RequestFailedError):
            assert plan.bad_at is not None
    assert sum(plan.ending is None for plan in survivors) >= 10
    for plan in survivors:
        if plan.ending is None:
            assert plan.events == (await alone(make_rows, plan)).events
    assert threading.active_count() <= threads_before + 4  # the ones that asyncio keeps for `to_thread`
