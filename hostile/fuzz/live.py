"""Structured and damaged calls, and damaged connections, against the port of a real server. Examples come from
hypothesis, which makes a failing one smaller and prints it."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from hostile.fuzz.frames import answers, conversation
from hostile.fuzz.strategies import LONG_S, Call, calls
from hostile.server import ServerProcess
from hostile.verdicts import CLIENT_GAVE_UP, Status, refusal_in, told_internals

HANG_S = 3 * LONG_S
"""A call that has no status by then never gets one."""
PHASES = (Phase.generate, Phase.shrink)
EXAMPLES = 250
"""In a round; between two rounds the clock is looked at."""
UNKNOWN = grpc.StatusCode.UNKNOWN.value[0]


class ViolationError(AssertionError):
    """A promise was broken."""


class Live:
    """Fuzzes one server. Counts every status."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._host, _, port = server.address.rpartition(":")
        self._port = int(port)
        self.statuses: Counter[str] = Counter()
        self.num_connections = 0

    @property
    def num_calls(self) -> int:
        """Calls that ended, and damaged connections."""
        return self.statuses.total()

    def run(self, first_seed: int, seconds: float) -> int:
        """Rounds until the time is over, at least one; how many. Raises ViolationError, noting the example."""
        ends_at = time.monotonic() + seconds
        number = 0
        with asyncio.Runner() as runner:
            while not number or time.monotonic() < ends_at:
                self._round(runner, first_seed + number)
                number += 1
        return number

    def _round(self, runner: asyncio.Runner, round_seed: int) -> None:
        channel = runner.run(_open(self._server.address))

        @seed(round_seed)
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=PHASES,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(calls(), min_size=1, max_size=12), st.lists(st.integers(0, 2**32), max_size=1))
        def attack(several: list[Call], conversations: list[int]) -> None:
            runner.run(self._attack(channel, several, conversations))

        try:
            attack()
        finally:
            runner.run(channel.close())

    async def _attack(self, channel: grpc.aio.Channel, several: Sequence[Call], conversations: Sequence[int]) -> None:
        work = [self._call(channel, call) for call in several] + [self._converse(number) for number in conversations]
        for result in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
        if not self._server.is_alive:
            raise ViolationError("the server has ended")

    async def _call(self, channel: grpc.aio.Channel, call: Call) -> None:
        try:
            async with asyncio.timeout(HANG_S):
                *refusals, ended = await _send(channel, call)
        except TimeoutError:
            raise ViolationError(f"{call.method.path} hangs") from None
        for refusal in refusals:
            self.statuses[f"{refusal.code.name} to one request of a stream"] += 1
            _require_permitted(call, refusal)
        if call.method.requests_stream and (ended.code, ended.details) in CLIENT_GAVE_UP:
            self.statuses["none, since the client gave up"] += 1
            return
        self.statuses[ended.code.name] += 1
        _require_permitted(call, ended)

    async def _converse(self, number: int) -> None:
        for code, details in await answers(self._host, self._port, conversation(random.Random(number))):
            self.statuses[f"{code} to a damaged connection"] += 1
            if code == UNKNOWN:
                raise ViolationError(f"the connection of seed {number} gets UNKNOWN: {details}")
            _require_silence(details)
        self.num_connections += 1


def _require_permitted(call: Call, status: Status) -> None:
    permitted = call.method.permitted
    if call.timeout_s < LONG_S:
        permitted |= {grpc.StatusCode.DEADLINE_EXCEEDED}
    if call.cancel_after_s is not None:
        permitted |= {grpc.StatusCode.CANCELLED}
    if status.code not in permitted:
        raise ViolationError(f"{call.method.path} ends with {status.code.name}: {status.details}")
    _require_silence(status.details)


def _require_silence(details: str) -> None:
    if what := told_internals(details):
        raise ViolationError(f"a status tells {what}: {details}")


async def _open(address: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),))


async def _send(channel: grpc.aio.Channel, call: Call) -> list[Status]:
    """How the requests of a stream that failed by themselves ended, then the call."""
    refusals = []
    metadata = (("x-request-id", call.request_id),) if call.request_id is not None else None
    sides = (
        "stream" if streams else "unary" for streams in (call.method.requests_stream, call.method.responses_stream)
    )
    make: Any = getattr(channel, "_".join(sides))
    requests: Any = _each(call.requests) if call.method.requests_stream else call.requests[0]
    running = make(call.method.path)(requests, timeout=call.timeout_s, metadata=metadata)
    if call.cancel_after_s is not None:
        await asyncio.sleep(call.cancel_after_s)
        running.cancel()
    try:
        if call.method.responses_stream:
            async for message in running:
                if (refusal := refusal_in(call.method.response.FromString(message))) is not None:
                    refusals.append(refusal)
        else:
            await running
    except (grpc.aio.AioRpcError, asyncio.CancelledError):
        pass
    return [*refusals, Status(await running.code(), await running.details() or "")]


async def _each(requests: Sequence[bytes]) -> Any:
    for request in requests:
        yield request
