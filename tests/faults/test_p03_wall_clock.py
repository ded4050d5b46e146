"""The wall clock may jump: deadlines, queues and timings go by the monotonic one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import pytest

from service.client.client import AsyncClient
from service.client.options import DecodingOptions
from service.client.types import Completion
from tests.faults.commands import MODEL, SENTENCE
from tests.faults.watched import WatchedServer, copy_model, total, wait_until, watched_server

HOUR_S = 3600
NUM_TOKENS = 60
SEEN_S = 1.5
"""A jump is seen by then: the clock's file is read once a second, since reading it with every look at the clock makes
a server a hundred times slower."""
LONG = DecodingOptions(min_length=NUM_TOKENS - 1, max_length=NUM_TOKENS)


class WallClock:
    """The wall clock of a server: ahead of the true one by some seconds."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "clock"
        self._write(0)

    @property
    def environment(self) -> dict[str, str]:
        """What puts libfaketime in front of the C library; it leaves the monotonic clock alone."""
        package = find_spec("libfaketime")
        assert package is not None, "libfaketime is not installed; the extra `dev` has it"
        assert package.origin is not None
        library = Path(package.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    async def jump(self, seconds: int) -> None:
        """Returns when the server has seen it."""
        self._write(seconds)
        await asyncio.sleep(SEEN_S)

    def _write(self, seconds: int) -> None:
        """Aside, and renamed, since the server reads it."""
        new = self._path.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._path)


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path)


@pytest.fixture
def server(clock: WallClock, tmp_path: Path) -> Iterator[WatchedServer]:
    """Two rows and slow steps, so that most calls wait in the queue while the clock jumps."""
    store, flags = copy_model(tmp_path), ("--max-slots", "2")
    with watched_server(store, *flags, environment=clock.environment, alterations=("step_s=0.05",)) as server:
        yield server


async def translate(client: AsyncClient, *, timeout_s: float) -> Completion:
    stream = client.stream(SENTENCE, model=MODEL, options=LONG, timeout_s=timeout_s)
    *_, last = [event async for event in stream]
    assert isinstance(last, Completion)
    return last


async def jump_while_they_run(server: WatchedServer, clock: WallClock) -> list[Completion]:
    """Ten streams with a deadline in 100 s: all are sent, the clock jumps, and jumps again while others still wait."""

    def num_ended() -> float:
        return total(server.metrics(), "stepstream_streams_closed_total")

    async with AsyncClient(server.address) as client:
        running = [asyncio.create_task(translate(client, timeout_s=100)) for _ in range(10)]
        await asyncio.to_thread(wait_until, lambda: total(server.metrics(), "stepstream_slots_in_use") == 2)
        for jump in (HOUR_S, -HOUR_S, 0):
            await clock.jump(jump)
            before = await asyncio.to_thread(num_ended)
            if before < 8:
                await asyncio.to_thread(wait_until, lambda before=before: num_ended() > before)
        return await asyncio.gather(*running)


@pytest.mark.fault(62)
async def test_a_wall_clock_that_jumps_an_hour_ends_no_stream_and_bends_no_timing(
    server: WatchedServer, clock: WallClock
) -> None:
    """The clock goes an hour ahead, two back, and home while streams run and wait: all end as without it, in the time
    that they took; the log's own stamps show that the clock did jump."""
    async with AsyncClient(server.address) as client:
        expected = (await translate(client, timeout_s=100)).text
    completions = await jump_while_they_run(server, clock)
    assert [completion.text for completion in completions] == [expected] * 10
    for completion in completions:
        timings = completion.timings
        assert 0 <= timings.queue_ms <= timings.first_token_ms <= timings.total_ms < 200_000
    await clock.jump(HOUR_S)
    async with AsyncClient(server.address) as client:
        await translate(client, timeout_s=100)
    await clock.jump(-HOUR_S)
    async with AsyncClient(server.address) as client:
        await translate(client, timeout_s=100)
    wait_until(lambda: len(server.calls()) == 13)
    stamps = [datetime.fromisoformat(call["timestamp"]) for call in server.calls()]
    assert (stamps[-2] - stamps[-1]).total_seconds() > HOUR_S
    assert all(0 <= call["total_ms"] < 200_000 for call in server.calls())
    metrics, lag = server.metrics(), "stepstream_event_loop_lag_seconds_bucket"
    assert total(metrics, lag, le="+Inf") == total(metrics, lag, le="10.0") > 0
