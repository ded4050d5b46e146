"""Promise 2: a cancelled request is in no step after the engine has heard of it, and somebody who waited is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from prometheus_client import generate_latest

from service.engine.runner import Runner
from service.pb.translation_pb2_grpc import TranslationServiceStub
from service.server import Server
from service.settings import Settings
from tests.balance import Balance, balance_of
from tests.faults.commands import NUM_TOKENS, long_request, short_request

NUM_SLOTS = 4
LIMIT_S = 60.0


@dataclass
class Watched:
    """A server in this process, what its engine does, and a gate before everything that it does."""

    server: Server
    stub: Any
    log: list[tuple[str, set[int]]] = field(default_factory=list)
    """In order: the requests that have left, and those that each step was for. Requests are numbered from 1."""
    gates: dict[str, threading.Event] = field(default_factory=dict)
    """By what is about to be done: "join", or "step" with the number of the step; closed until they are set."""
    at_a_gate: threading.Event = field(default_factory=threading.Event)

    def steps(self) -> list[set[int]]:
        """The requests of each step."""
        return [requests for kind, requests in self.log if kind == "step"]

    def wait_at(self, *names: str) -> None:
        for name in names:
            if (gate := self.gates.pop(name, None)) is not None:
                self.at_a_gate.set()
                assert gate.wait(LIMIT_S)

    def balance(self) -> Balance:
        return balance_of(generate_latest(self.server._telemetry.metrics.registry).decode())

    def close(self, name: str) -> threading.Event:
        """A gate, closed."""
        return self.gates.setdefault(name, threading.Event())

    async def until(self, is_so: Any) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not is_so():  # noqa: ASYNC110, the engine's thread tells nobody
                await asyncio.sleep(0.005)


@pytest.fixture
async def watched(small_store: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    settings = Settings(
        port=0, metrics_port=0, model_store=small_store, verify_certificates=False, max_slots=NUM_SLOTS, num_workers=1
    )
    server = Server(settings)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        watched = Watched(server, TranslationServiceStub(channel))
        real_join, real_leave, real_step = Runner.join, Runner.leave, Runner.step

        def join(runner: Runner, requests: Any) -> Any:
            watched.wait_at("join")
            return real_join(runner, requests)

        def leave(runner: Runner, request_ids: Iterable[int]) -> None:
            left = set(request_ids)
            real_leave(runner, left)
            if left:
                watched.log.append(("leave", left))

        def step(runner: Runner) -> Any:
            watched.wait_at("step", f"step {len(watched.steps()) + 1}")
            results = real_step(runner)
            watched.log.append(("step", {request_id for request_id, _ in results}))
            return results

        monkeypatch.setattr(Runner, "join", join)
        monkeypatch.setattr(Runner, "leave", leave)
        monkeypatch.setattr(Runner, "step", step)
        yield watched
    await server.stop()


@pytest.mark.fault(51)
async def test_the_next_step_is_without_the_cancelled_and_with_one_who_waited(watched: Watched) -> None:
    """Of a full engine two requests are cancelled: the next step has neither, and has the two that waited."""
    running = [watched.stub.StreamTranslate(long_request()) for _ in range(NUM_SLOTS)]
    for call in running:
        await call.read()
    waiting = [watched.stub.StreamTranslate(long_request()) for _ in range(2)]
    await watched.until(lambda: {1, 2, 3, 4} in watched.steps())
    gate = watched.close("step")
    await watched.until(watched.at_a_gate.is_set)
    for call in running[:2]:
        call.cancel()
    await watched.until(lambda: (watched.balance().opened, watched.balance().closed) == (6, 2))
    gate.set()
    await watched.until(lambda: any(kind == "leave" for kind, _ in watched.log))
    for call in waiting:
        await call.read()
    cancelled: set[int] = set().union(*(requests for kind, requests in watched.log if kind == "leave"))
    assert len(cancelled) == 2
    first_left = next(place for place, (kind, _) in enumerate(watched.log) if kind == "leave")
    after = [requests for kind, requests in watched.log[first_left:] if kind == "step"]
    assert after
    assert not any(requests & cancelled for requests in after)
    assert after[0] == {1, 2, 3, 4, 5, 6} - cancelled
    for call in (*running, *waiting):
        call.cancel()


@pytest.mark.fault(51)
@pytest.mark.parametrize("phase", ["encoding", "first token", "middle", "last token"])
async def test_a_cancel_at_any_moment_of_a_translation(watched: Watched, phase: str) -> None:
    """A cancel while the source is encoded, at the first token, in the middle or at the last: the row is free, and
    the next translation is as ever."""
    expected = [message async for message in watched.stub.StreamTranslate(short_request())]
    begun = len(watched.steps())
    gates = {"encoding": 1, "first token": 1, "middle": NUM_TOKENS // 2, "last token": NUM_TOKENS}
    watched.at_a_gate.clear()
    gate = watched.close("join" if phase == "encoding" else f"step {begun + gates[phase]}")
    call = watched.stub.StreamTranslate(long_request())
    await watched.until(watched.at_a_gate.is_set)
    call.cancel()
    await watched.until(lambda: watched.balance().closed == 2)
    gate.set()
    again = [message async for message in watched.stub.StreamTranslate(short_request())]
    assert [message.step for message in again] == [message.step for message in expected]
    steps = watched.steps()[begun:]
    assert sum(2 in requests for requests in steps) <= gates[phase]


@pytest.mark.fault(51)
async def test_a_cancel_in_the_queue(watched: Watched) -> None:
    """A cancel of a request that waits: it is in no step at all."""
    running = [watched.stub.StreamTranslate(long_request()) for _ in range(NUM_SLOTS)]
    await watched.until(lambda: {1, 2, 3, 4} in watched.steps())
    gate = watched.close("step")
    await watched.until(watched.at_a_gate.is_set)
    waiting = watched.stub.StreamTranslate(short_request())
    await watched.until(lambda: watched.balance().opened == NUM_SLOTS + 1)
    waiting.cancel()
    await watched.until(lambda: watched.balance().closed == 1)
    gate.set()
    for call in running:
        assert [message async for message in call]
    assert not any(NUM_SLOTS + 1 in requests for requests in watched.steps())
