from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from service.engine.engine import EditableTranslation, Engine
from service.engine.mailbox import Unlimited
from service.engine.request import Decoding, FinishReason, StepResult
from service.errors import (
    DeadlineExceededError,
    EncodeFailedError,
    EngineFailedError,
    QueueFullError,
    ServiceError,
    StoppingError,
)

UNENCODABLE_ID = 666

MakeEngine = Callable[..., Engine]


@pytest.fixture
async def engine(make_engine: MakeEngine) -> AsyncIterator[Engine]:
    engine = make_engine()
    engine.start()
    yield engine
    await engine.stop()


SHORT = Decoding(max_length=50)


async def collect(
    engine: Engine, source: tuple[int, ...], decoding: Decoding = SHORT, **options: Any
) -> list[StepResult]:
    return [result async for result in engine.translate(source, decoding, **options)]


def tokens_of(results: list[StepResult]) -> list[int]:
    return [token.token_id for result in results for token in result.settled]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's threads have a niceness of their own")
async def test_an_engine_gives_way_to_the_event_loop(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(niceness=5)
    engine.start()
    await collect(engine, (7, 3))
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    [thread] = [one for one in threading.enumerate() if one.name == "test"]
    assert thread.native_id is not None
    assert os.getpriority(os.PRIO_PROCESS, thread.native_id) == min(own + 5, 19)
    await engine.stop()


async def test_every_step_is_delivered_once_and_in_order(engine: Engine) -> None:
    results = await collect(engine, (7, 8, 9, 3))
    assert [(r.first_index, r.settled[0].token_id) for r in results] == [(0, 7), (1, 8), (2, 9), (3, 3)]
    assert [r.is_last for r in results] == [False, False, False, True]
    assert [one.finish_reason for one in results[-1].hypotheses] == [FinishReason.END_OF_SENTENCE]


async def test_a_request_that_is_not_streamed_has_its_last_result_alone_beside_one_that_is(engine: Engine) -> None:
    source = (7, 8, 9, 3)
    (last,), streamed = await asyncio.gather(collect(engine, source, streamed=False), collect(engine, source))
    assert last.is_last
    assert last.hypotheses == streamed[-1].hypotheses
    assert len(streamed) == 4


async def test_closing_an_unstreamed_request_frees_its_row(engine: Engine, rows: Any) -> None:
    rows.step_s = 0.01
    request = asyncio.ensure_future(collect(engine, (*range(10, 40), 3), streamed=False))
    await asyncio.sleep(0.05)
    assert rows.num_rows == 1
    request.cancel()
    await asyncio.sleep(0.1)
    assert rows.num_rows == 0


async def test_requests_of_different_lengths_share_steps_and_keep_apart(engine: Engine, rows: Any) -> None:
    sources = [(*range(10, 10 + n), 3) for n in (1, 5, 3, 9, 2, 7, 4, 8)]
    all_results = await asyncio.gather(*(collect(engine, source) for source in sources))
    assert [tuple(tokens_of(results)) for results in all_results] == sources
    assert max(rows.rows_by_step) == 4
    assert sum(rows.rows_by_step) == sum(map(len, sources))


async def test_a_request_joins_while_another_runs(engine: Engine, rows: Any) -> None:
    rows.step_s = 0.01
    first = engine.translate((*range(10, 40), 3), Decoding(max_length=50))
    async with aclosing(first):
        assert (await anext(first)).first_index == 0
        assert len(await collect(engine, (7, 3))) == 2
        assert (await anext(first)).first_index < 20


async def test_closing_a_stream_frees_its_row_before_the_next_step(engine: Engine, rows: Any, observer: Any) -> None:
    rows.step_s = 0.01
    stream = engine.translate((*range(10, 40), 3), Decoding(max_length=50))
    await anext(stream)
    await stream.aclose()
    made = len(rows.rows_by_step)
    await asyncio.sleep(0.1)
    assert len(rows.rows_by_step) <= made + 2
    assert rows.num_rows == 0
    assert len(await collect(engine, (7, 3))) == 2


async def test_attention_has_one_weight_for_each_source_token_only_if_asked_for(engine: Engine) -> None:
    long_one, with_attention = await asyncio.gather(
        collect(engine, (*range(10, 20), 3)), collect(engine, (7, 8, 3), include_attention=True)
    )
    assert [list(r.settled[0].attention) for r in with_attention] == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert all(len(r.settled[0].attention) == 0 for r in long_one)


class RecordedPlace(Unlimited):
    """Keeps what the engine says of a request, and how to withdraw it."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.withdraw: Callable[[ServiceError], None] = lambda _: None

    def submitted(self, withdraw: Callable[[ServiceError], None]) -> None:
        self.withdraw = withdraw
        self.told.append("submitted")

    def joined(self) -> None:
        self.told.append("joined")

    def left(self) -> None:
        self.told.append("left")


class TimedPlace(Unlimited):
    def __init__(self) -> None:
        self.seconds: list[float] = []

    def served(self, seconds: float) -> None:
        self.seconds.append(seconds)


async def test_how_long_a_target_took_is_told_however_slowly_it_is_read(engine: Engine, rows: Any) -> None:
    place, left = TimedPlace(), TimedPlace()
    started, pause_s = time.monotonic(), 0.1
    async with aclosing(engine.translate((7, 8, 9, 3), Decoding(max_length=20), place=place)) as results:
        await anext(results)
        while rows.num_rows:  # noqa: ASYNC110, the engine's thread tells nobody
            await asyncio.sleep(0.001)
        await asyncio.sleep(pause_s)
        async for _ in results:
            pass
    (seconds,) = place.seconds
    assert 0 < seconds <= time.monotonic() - started - pause_s
    async with aclosing(engine.translate((7, 8, 9, 3), Decoding(max_length=20), place=left)) as abandoned:
        await anext(abandoned)
    assert not left.seconds, "of a target that nobody waited for, nothing is known"


async def test_a_waiting_request_can_be_withdrawn_and_a_running_one_cannot(make_engine: MakeEngine, rows: Any) -> None:
    rows.step_s = 0.01
    engine = make_engine(max_slots=1)
    engine.start()
    places = [RecordedPlace(), RecordedPlace()]
    running, waiting = (asyncio.create_task(collect(engine, (*range(10, 25), 3), place=place)) for place in places)
    await asyncio.sleep(0.05)
    for place in places:
        place.withdraw(QueueFullError("displaced", pushback_ms=70))
    with pytest.raises(QueueFullError) as raised:
        await waiting
    assert (str(raised.value), raised.value.pushback_ms) == ("displaced", 70)
    assert tokens_of(await running) == [*range(10, 25), 3]
    assert [place.told for place in places] == [["submitted", "joined", "left"], ["submitted", "left"]]
    await engine.stop()
    places[0].withdraw(QueueFullError("too late"))


async def test_a_passed_deadline_ends_the_request_and_not_its_neighbour(engine: Engine, rows: Any) -> None:
    rows.step_s = 0.02
    neighbour = asyncio.create_task(collect(engine, (*range(10, 30), 3)))
    with pytest.raises(DeadlineExceededError):
        await collect(engine, (*range(10, 40), 3), deadline=time.monotonic() + 0.1)
    assert tokens_of(await neighbour) == [*range(10, 30), 3]


async def test_stopping_ends_running_requests_with_an_error(make_engine: MakeEngine, rows: Any) -> None:
    rows.step_s = 0.01
    engine = make_engine()
    engine.start()
    running = asyncio.create_task(collect(engine, (*range(10, 60), 3), decoding=Decoding(max_length=60)))
    await asyncio.sleep(0.05)
    await engine.stop()
    with pytest.raises(StoppingError):
        await running
    with pytest.raises(StoppingError):
        await collect(engine, (7, 3))


async def test_a_failed_step_fails_every_request_and_is_reported(make_engine: MakeEngine, rows: Any) -> None:
    engine = make_engine()
    engine.start()
    rows.fail = True
    with pytest.raises(EngineFailedError):
        await collect(engine, (7, 3))
    with pytest.raises(EngineFailedError):
        await collect(engine, (7, 3))
    await engine.stop()
    assert [str(error) for error in engine.failures] == ["the graph failed"]  # type: ignore[attr-defined]


async def test_an_idle_engine_reports_that_nothing_runs(engine: Engine, observer: Any) -> None:
    await collect(engine, (7, 8, 3))
    for _ in range(500):
        if len(observer.steps) == 3 and not observer.num_rows:
            break
        await asyncio.sleep(0.01)
    assert observer.steps == [1, 1, 1]
    assert (observer.num_rows, observer.queue_length, observer.queue_tokens) == (0, 0, 0)


async def test_a_source_that_the_encoder_fails_on_takes_no_neighbour_with_it(engine: Engine, observer: Any) -> None:
    sources = [(7, 8, 3), (UNENCODABLE_ID, 3), (9, 10, 3)]
    results = await asyncio.gather(*(collect(engine, source) for source in sources), return_exceptions=True)
    assert isinstance(results[1], EncodeFailedError)
    assert [tokens_of(results[i]) for i in (0, 2)] == [[7, 8, 3], [9, 10, 3]]  # type: ignore[union-attr]
    assert [str(error) for error in observer.encode_errors] == ["the encoder failed"]
    assert len(await collect(engine, (7, 3))) == 2


async def test_no_request_waits_for_ever_when_the_engine_fails(make_engine: MakeEngine, rows: Any) -> None:
    rows.step_s = 0.02
    engine = make_engine(max_slots=1)
    engine.start()
    running = asyncio.create_task(collect(engine, (*range(10, 40), 3)))
    await asyncio.sleep(0.05)
    rows.fail = True
    others = [collect(engine, (7, 3), deadline=time.monotonic() + 0.001 * i) for i in range(6)]
    async with asyncio.timeout(5):
        results = await asyncio.gather(running, *others, return_exceptions=True)
    assert all(isinstance(result, ServiceError) for result in results)
    await engine.stop()


async def test_a_step_that_does_not_end_does_not_keep_the_server_from_stopping(
    make_engine: MakeEngine, rows: Any
) -> None:
    rows.step_s = 1.0
    engine = make_engine()
    engine.start()
    running = asyncio.create_task(collect(engine, (7, 8, 3)))
    await asyncio.sleep(0.05)
    assert not await engine.stop(timeout_s=0.1)
    with pytest.raises(StoppingError):
        await running
    assert await engine.stop()


async def collect_edit(translation: EditableTranslation, number: int) -> list[int]:
    """The tokens of an edit, up to its end."""
    tokens: list[int] = []
    async for result in translation.results:
        if result.edit == number:
            tokens += [token.token_id for token in result.settled]
            if result.is_last:
                break
    return tokens


async def test_the_last_of_several_edits_at_once_counts(engine: Engine) -> None:
    translation = engine.translate_editable((7, 8, 9, 3), SHORT)
    async with aclosing(translation.results), asyncio.timeout(5):
        assert await collect_edit(translation, 0) == [7, 8, 9, 3]
        translation.edit((5,))
        translation.edit((7, 6))
        assert await collect_edit(translation, 2) == [6, 9, 3]


async def test_edits_before_the_translation_begins_are_obeyed_in_their_order(
    make_engine: MakeEngine, rows: Any
) -> None:
    rows.step_s = 0.01
    engine = make_engine(max_slots=1)
    engine.start()
    first = asyncio.create_task(collect(engine, (*range(10, 25), 3)))
    await asyncio.sleep(0.03)
    translation = engine.translate_editable((7, 8, 9, 3), SHORT)
    async with aclosing(translation.results), asyncio.timeout(5):
        edited = asyncio.create_task(collect_edit(translation, 2))
        await asyncio.sleep(0.03)
        translation.edit((5, 5))
        translation.edit((6,))
        assert (await edited)[-3:] == [8, 9, 3]
    await first
    await engine.stop()
