"""Promise 11: one bad request never kills the engine, nor anything else of another request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.client.client import AsyncClient
from service.client.errors import ServerError, ServerUnreachableError
from service.client.options import DecodingOptions
from service.client.types import Completion, FinishReason, StepEvent
from service.engine.pool import EnginePool
from service.engine.request import Decoding
from service.engine.running import Running as RunningRequest
from service.model.session import Bound
from service.model.slots import Slots
from tests.faults.in_process import (
    LONG_S,
    NEIGHBOURS,
    PATIENT_S,
    RECURRENT,
    TRANSFORMER,
    VICTIM,
    Running,
    begin_neighbours,
    rows_with,
    serving,
    stream,
)

MODELS = (TRANSFORMER, RECURRENT)
AGE = 3
"""The victim is struck when it has made so many tokens."""


@pytest.fixture
async def running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(monkeypatch, tmp_path) as running:
        yield running


class Victim:
    """Strikes the rows of one source, once each, and notes how many rows shared the step."""

    def __init__(self, source_length: int) -> None:
        self.source_length = source_length
        self.companies: list[int] = []

    def rows(self, slots: Slots) -> list[int]:
        rows = [row for row in rows_with(slots, self.source_length) if slots._positions[row] == AGE]
        self.companies += [slots.num_rows] * bool(rows)
        return rows


def not_a_number(slots: Slots, row: int) -> None:
    for state in slots._manifest.states_of("constant"):
        slots._host.arrays[state.name][row] = np.nan


def infinite(slots: Slots, row: int) -> None:
    for state in slots._manifest.states_of("constant"):
        slots._host.arrays[state.name][row] = np.inf


def unknown_token(slots: Slots, row: int) -> None:
    slots._token_ids[row] = 10**6


async def alone(client: AsyncClient, model: str) -> tuple[list[Any], Victim]:
    """What the neighbours' streams are, each undisturbed by itself; and the victim."""
    streams = [await stream(client, text, model, options) for text, options in NEIGHBOURS]
    completion = (await stream(client, VICTIM, model))[-1]
    assert isinstance(completion, Completion)
    lengths = {one[-1].num_source_tokens for one in streams}
    assert completion.num_source_tokens not in lengths
    return streams, Victim(completion.num_source_tokens)


async def fail_beside_neighbours(
    running: Running, client: AsyncClient, model: str, undisturbed: list[Any], victim: Victim
) -> None:
    """The victim's stream ends with INTERNAL; its neighbours' and whatever comes later are as ever."""
    running.awaited = victim.source_length
    neighbours = await begin_neighbours(client, model)
    with pytest.raises(ServerError, match="INTERNAL") as raised:
        await stream(client, VICTIM, model)
    assert "could not be" in str(raised.value)
    async with asyncio.timeout(LONG_S):
        assert await asyncio.gather(*neighbours) == undisturbed
    running.awaited = None
    later = [await stream(client, text, model, options) for text, options in NEIGHBOURS]
    assert later == undisturbed
    assert not running.task.done()
    assert await running.is_ready()


@pytest.mark.fault(45, 46, 47)
@pytest.mark.parametrize("strike", [not_a_number, infinite, unknown_token])
@pytest.mark.parametrize("model", MODELS)
async def test_a_row_that_the_graph_fails_on_fails_alone(running: Running, model: str, strike: Any) -> None:
    """One row has NaN, Inf, or a token on which onnxruntime fails for the whole batch: that stream alone gets
    INTERNAL and is counted, the bytes of greedy, beam and sampling neighbours are unchanged."""
    async with AsyncClient(running.address) as client:
        undisturbed, victim = await alone(client, model)

        def before_step(slots: Slots) -> None:
            for row in victim.rows(slots):
                strike(slots, row)

        running.before_step = before_step
        await fail_beside_neighbours(running, client, model, undisturbed, victim)
        assert max(victim.companies) >= len(NEIGHBOURS)
        assert await running.metric("stepstream_failed_rows_total", model) == 1.0


@pytest.mark.fault(47)
@pytest.mark.parametrize("model", MODELS)
async def test_a_graph_that_fails_after_it_has_written_everything_changes_no_neighbour(
    running: Running, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every run that holds the culprit's row fails when all states are written already: rows run again from the same
    states, the culprit alone gets INTERNAL, the neighbours' bytes are unchanged."""
    async with AsyncClient(running.address) as client:
        undisturbed, victim = await alone(client, model)
        current: dict[str, Any] = {}

        def before_step(slots: Slots) -> None:
            rows = victim.rows(slots)
            current["address"] = slots._source_lengths.ctypes.data + 8 * rows[0] if rows else None

        def run(bound: Bound) -> None:
            real_run(bound)
            memory = bound._inputs.get("source_lengths")
            address = current.get("address")
            if memory and address and memory.address <= address < memory.address + 8 * memory.shape[0]:
                raise RuntimeError("secret: a kernel failed at the very end")

        real_run = Bound.run
        monkeypatch.setattr(Bound, "run", run)
        running.before_step = before_step
        await fail_beside_neighbours(running, client, model, undisturbed, victim)
        assert max(victim.companies) >= len(NEIGHBOURS)


@pytest.mark.fault(45, 47)
@pytest.mark.parametrize("fault", ["raises", "token -1", "token of no vocabulary", "row of nobody"])
async def test_a_search_that_fails_fails_alone(running: Running, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request's search raises, chooses a token that no vocabulary has, or goes on from a row that it does not
    have: that stream alone gets INTERNAL."""
    async with AsyncClient(running.address) as client:
        undisturbed, victim = await alone(client, TRANSFORMER)
        real_advance = RunningRequest.advance

        def advance(request: RunningRequest, *arguments: Any) -> Any:
            made = real_advance(request, *arguments)
            if len(request.request.source_ids) != victim.source_length or request.num_settled != AGE:
                return made
            match fault:
                case "token -1":
                    return made._replace(token_ids=(-1,))
                case "token of no vocabulary":
                    return made._replace(token_ids=(10**6,))
                case "row of nobody":
                    return made._replace(parents=(5,))
            raise KeyError("secret: a rule failed")

        monkeypatch.setattr(RunningRequest, "advance", advance)
        await fail_beside_neighbours(running, client, TRANSFORMER, undisturbed, victim)
        assert await running.metric("stepstream_failed_rows_total", TRANSFORMER) == 1.0


@pytest.mark.fault(46, 47)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy, which stands for no error where a server runs
@pytest.mark.parametrize("beam_size", [1, 2])
async def test_an_option_that_leaves_no_probabilities_fails_alone(
    running: Running, beam_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph's results are numbers, but what a decoding option makes of one row's is none: that stream alone gets
    INTERNAL. The option is set behind the check of its range."""
    async with AsyncClient(running.address) as client:
        undisturbed, victim = await alone(client, TRANSFORMER)
        real_translate = EnginePool.translate

        def translate(pool: EnginePool, source_ids: Any, decoding: Decoding, **others: Any) -> Any:
            if len(source_ids) == victim.source_length:
                decoding = replace(decoding, repetition_penalty=1e-45, beam_size=beam_size)
            return real_translate(pool, source_ids, decoding, **others)

        monkeypatch.setattr(EnginePool, "translate", translate)
        await fail_beside_neighbours(running, client, TRANSFORMER, undisturbed, victim)
        assert await running.metric("stepstream_failed_rows_total", TRANSFORMER) == 1.0


@pytest.mark.fault(45)
@pytest.mark.parametrize("token_id", [-1, 10**6])
async def test_a_source_token_of_no_vocabulary_fails_alone(
    running: Running, token_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source holds a token that its vocabulary does not have, -1 among them, which onnxruntime would take for the
    last one: that stream alone gets INTERNAL."""
    async with AsyncClient(running.address) as client:
        undisturbed, victim = await alone(client, TRANSFORMER)
        real_translate = EnginePool.translate

        def translate(pool: EnginePool, source_ids: tuple[int, ...], *arguments: Any, **options: Any) -> Any:
            if len(source_ids) == victim.source_length:
                source_ids = (token_id, *source_ids[1:])
            return real_translate(pool, source_ids, *arguments, **options)

        monkeypatch.setattr(EnginePool, "translate", translate)
        await fail_beside_neighbours(running, client, TRANSFORMER, undisturbed, victim)


@pytest.mark.fault(46, 47)
async def test_bad_requests_one_after_the_other_and_nobody_else_do_not_kill_the_engine(running: Running) -> None:
    """Request after request has NaN, each by itself, ten times: each gets INTERNAL, the engine serves the next good
    one."""
    async with AsyncClient(running.address) as client:
        undisturbed, victim = await alone(client, TRANSFORMER)

        def before_step(slots: Slots) -> None:
            for row in victim.rows(slots):
                not_a_number(slots, row)

        running.before_step = before_step
        for _ in range(10):
            with pytest.raises(ServerError, match="INTERNAL"):
                await stream(client, VICTIM, TRANSFORMER)
        text, options = NEIGHBOURS[0]
        assert await stream(client, text, TRANSFORMER, options) == undisturbed[0]


@pytest.mark.fault(46)
async def test_a_model_that_computes_nothing_but_nan_ends_the_process(running: Running) -> None:
    """Every row has NaN, one of the engine's own too: every stream gets UNAVAILABLE, the process ends with 1."""

    def before_step(slots: Slots) -> None:
        for row in range(slots.num_rows):
            not_a_number(slots, row)

    async with AsyncClient(running.address) as client:
        running.step_s = PATIENT_S
        neighbours = await begin_neighbours(client, TRANSFORMER)
        running.before_step = before_step
        results = await asyncio.gather(*neighbours, return_exceptions=True)
        assert all(isinstance(result, ServerUnreachableError) for result in results)
    async with asyncio.timeout(LONG_S):
        assert await running.task == 1


@pytest.mark.fault(47)
async def test_a_batch_that_fails_though_no_row_does_is_computed_apart_and_only_so_often(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of more than one row fail and no row by itself does: the step is made row by row, without a loss; at the
    third such step in a row all get UNAVAILABLE and the process ends with 1."""
    real_run = Bound.run
    failed_steps: list[int] = []

    def run(bound: Bound) -> None:
        memory = bound._inputs.get("source_lengths")
        if failed_steps and memory is not None and memory.shape[0] > 1:
            raise RuntimeError("secret: too many rows")
        real_run(bound)

    monkeypatch.setattr(Bound, "run", run)
    async with AsyncClient(running.address) as client:
        undisturbed, _ = await alone(client, TRANSFORMER)
        running.step_s = PATIENT_S

        def fail_two_steps(slots: Slots) -> None:
            failed_steps[:] = [1] if len(steps) < 2 else []
            steps.append(slots.num_rows)

        steps: list[int] = []
        neighbours = await begin_neighbours(client, TRANSFORMER)
        running.before_step = fail_two_steps
        async with asyncio.timeout(LONG_S):
            assert await asyncio.gather(*neighbours) == undisturbed
        assert min(steps[:2]) > 1
        neighbours = await begin_neighbours(client, TRANSFORMER)
        running.before_step = lambda _: failed_steps.append(1)
        results = await asyncio.gather(*neighbours, return_exceptions=True)
        assert all(isinstance(result, ServerUnreachableError) for result in results)
    async with asyncio.timeout(LONG_S):
        assert await running.task == 1


@pytest.mark.fault(15)
@pytest.mark.parametrize("options", [DecodingOptions(), DecodingOptions(beam_size=3), DecodingOptions(max_length=21)])
async def test_a_target_that_never_ends_stops_at_its_longest(
    running: Running, options: DecodingOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model says the same token for ever: the stream is OK and ends with MAX_LENGTH at the length that the request,
    or the model, sets."""
    real_advance = RunningRequest.advance

    def advance(request: RunningRequest, candidates: Any, rows: Any, bad: Any) -> Any:
        for row in rows:
            row.ids[:] = range(10, 10 + len(row.ids))
            row.log_probabilities[:] = [-0.5 - place for place in range(len(row.ids))]
        return real_advance(request, candidates, rows, bad)

    async with AsyncClient(running.address) as client:
        longest = (await client.get_model(TRANSFORMER)).max_target_length
        monkeypatch.setattr(RunningRequest, "advance", advance)
        async with asyncio.timeout(LONG_S):
            *events, completion = await stream(client, VICTIM, TRANSFORMER, options)
    assert isinstance(completion, Completion)
    assert completion.finish_reason == FinishReason.MAX_LENGTH
    steps = [event for event in events if isinstance(event, StepEvent)]
    assert len(steps) == completion.num_target_tokens == (options.max_length or longest)
    assert {step.token_id for step in steps[-5:]} == {10}
