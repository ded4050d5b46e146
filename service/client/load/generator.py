"""One process's part of the load: sends requests when they are due and counts what comes of them."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from itertools import cycle
from typing import Self

import grpc

from service.client.addresses import target_of
from service.client.channel import CONNECT_TIMEOUT_S, channel_options, open_async_channel
from service.client.credentials import credentials_from
from service.client.errors import ServerUnreachableError
from service.client.load.scenario import Targets
from service.client.load.sending import Send, WeightedJob, make_send, pause_after
from service.client.load.stage import Stage
from service.client.load.tally import Outcome, Second, Tally

TICK_S = 0.01
"""How often the generator looks how late it is, whatever it sends."""
OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)
"""Otherwise all channels of a process to one address share a connection."""
ALL_CONNECT_S = 30.0


@dataclass(frozen=True)
class Orders:
    """What every process of the generator is told before it begins. number: which of them it is."""

    address: str
    jobs: Sequence[WeightedJob]
    targets: Targets
    connections: int
    timeout_s: float
    seed: int
    number: int


class Generator:
    """Connected for as long as an `async with` block runs; one stage after the other."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._random = random.Random(f"{orders.seed} {orders.number}")  # noqa: S311
        self._weights = [one.weight for one in orders.jobs]
        self._exit = AsyncExitStack()
        self._stage = _Course(0.0, 0.0, orders.targets)

    async def __aenter__(self) -> Self:
        """Raises ServerUnreachableError."""
        orders = self._orders
        target = target_of(orders.address)
        options = [*channel_options(CONNECT_TIMEOUT_S), *target.options, OWN_CONNECTION]
        channels = [
            await self._exit.enter_async_context(open_async_channel(target.name, options, credentials_from()))
            for _ in range(orders.connections)
        ]
        try:
            async with asyncio.timeout(ALL_CONNECT_S):
                for channel in channels:
                    await _connect(channel)
        except (ConnectionError, TimeoutError):
            await self._exit.aclose()
            raise ServerUnreachableError(f"no server answers at {target.shown}") from None
        self._sends = cycle(
            [
                [make_send(one.job, channel, orders.timeout_s, self._token) for one in orders.jobs]
                for channel in channels
            ]
        )
        gc.collect()
        gc.freeze()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit.aclose()

    async def run(self, stage: Stage, start: float, on_second: Callable[[Second], None]) -> Tally:
        """Play a stage from a moment of `time.monotonic` on; the sums of what counts. on_second is told of each second
        as it ends, those included in which the last requests end."""
        self._stage = course = _Course(start, start + stage.warm_up_s, self._orders.targets)
        ticking = asyncio.create_task(_tick(course, on_second))
        try:
            await (self._open(stage, start) if stage.arrivals else self._closed(stage, start))
        finally:
            ticking.cancel()
            with suppress(asyncio.CancelledError):
                await ticking
        on_second(course.turn(course.second.number + 1))
        return course.tally

    async def _open(self, stage: Stage, start: float) -> None:
        async with asyncio.TaskGroup() as group:
            for at in stage.arrivals:
                await asyncio.sleep(start + at - time.monotonic())
                group.create_task(self._send(start + at))
            await asyncio.sleep(start + stage.duration_s - time.monotonic())

    async def _closed(self, stage: Stage, start: float) -> None:
        await asyncio.sleep(start - time.monotonic())

        async def client() -> None:
            while (due := time.monotonic()) < start + stage.duration_s:
                await pause_after(await self._send(due))

        async with asyncio.TaskGroup() as group:
            for _ in range(stage.num_clients):
                group.create_task(client())

    async def _send(self, due: float) -> Outcome:
        (job,) = self._random.choices(range(len(self._weights)), self._weights)
        sends: list[Send] = next(self._sends)
        outcome = Outcome(job, due)
        self._stage.begin()
        await sends[job](outcome, self._random)
        self._stage.end(outcome)
        return outcome

    def _token(self, outcome: Outcome) -> None:
        self._stage.token(outcome)


class _Course:
    """A stage as far as it has come."""

    def __init__(self, start: float, counted_from: float, targets: Targets) -> None:
        self.start = start
        self.tally = Tally()
        self.second = Second(0)
        self._counted_from = counted_from
        self._targets = targets
        self._num_running = 0

    def begin(self) -> None:
        self._num_running += 1
        self.second.num_due += 1

    def token(self, outcome: Outcome) -> None:
        self.second.num_tokens += 1
        if len(outcome.arrivals) == 1:
            self.second.first_token.record(outcome.arrivals[0] - outcome.due)

    def end(self, outcome: Outcome) -> None:
        self._num_running -= 1
        self.second.end(outcome, self._targets)
        self.tally.verify(outcome)
        if outcome.due >= self._counted_from:
            self.tally.record(outcome, self._targets)

    def turn(self, number: int) -> Second:
        """The second that has ended; `number` begins."""
        ended, self.second = self.second, Second(number)
        ended.num_running = self._num_running
        return ended


async def _connect(channel: grpc.aio.Channel) -> None:
    """Wait until it is connected; raises ConnectionError at the first failure."""
    while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
        if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            raise ConnectionError
        await channel.wait_for_state_change(state)


async def _tick(course: _Course, on_second: Callable[[Second], None]) -> None:
    due = course.start
    while True:
        due += TICK_S
        await asyncio.sleep(due - time.monotonic())
        now = time.monotonic()
        course.tally.loop_lag.record(now - due)
        while course.second.number < int(now - course.start):
            on_second(course.turn(course.second.number + 1))
