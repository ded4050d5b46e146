"""Every deadline is kept, and nothing is begun that cannot end in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from service.client.ending import REQUEST_ID
from service.pb import translation_pb2 as pb
from tests.reference.paced_server import MODEL, PacedServer, connected, paced_server, stream, stub_of

SHORT, LONG = "A dog runs.", "A man in a blue shirt is standing on a ladder cleaning a window."
SLACK_S = 2.0


@pytest.fixture
async def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PacedServer]:
    """A server with two rows and a call limit of 3 s."""
    settings = {"max_slots": 2, "max_call_s": 3.0, "max_queue_wait_s": 600.0}
    async with paced_server(tmp_path, monkeypatch, **settings) as server:
        yield server
        await server.until_idle()


def code_of(result: Any) -> grpc.StatusCode:
    if isinstance(result, grpc.StatusCode):
        return result
    code: grpc.StatusCode = result.code() if isinstance(result, grpc.aio.AioRpcError) else result.code
    return code


@pytest.mark.fault(52)
@pytest.mark.parametrize("timeout_s", [0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 5.0])
async def test_every_method_ends_with_its_deadline(full: PacedServer, timeout_s: float) -> None:
    """Every call ends with DEADLINE_EXCEEDED when its time is over, on the server too, running or waiting."""
    full.step_s = 0.1
    pair = pb.ScorePair(source=LONG, target=" ".join(["Ein Mann"] * 30))
    edited = pb.TranslateInteractiveRequest(start=pb.StreamTranslateRequest(model=MODEL, text=LONG))
    async with connected(full.address) as channel:
        await channel.channel_ready()
        stub = stub_of(channel)
        texts = pb.TranslateRequest(model=MODEL, texts=[LONG] * 30, options=pb.DecodingOptions(min_length=60))
        interactive = stub.TranslateInteractive(timeout=timeout_s)
        started_at = time.monotonic()

        async def edit() -> grpc.StatusCode:
            """INTERNAL without a request id is of gRPC's client itself: its write met the end of its call."""
            with suppress(grpc.aio.AioRpcError):
                await interactive.write(edited)
                async for _ in interactive:
                    pass
            code: grpc.StatusCode = await interactive.code()
            if code is grpc.StatusCode.INTERNAL and REQUEST_ID not in dict(await interactive.trailing_metadata() or ()):
                return grpc.StatusCode.DEADLINE_EXCEEDED
            return code

        calls = (
            stub.Translate(texts, timeout=timeout_s),
            stub.Score(pb.ScoreRequest(model=MODEL, pairs=[pair] * 30), timeout=timeout_s),
            edit(),
            *(stream(stub, LONG, max_length=100, timeout_s=timeout_s) for _ in range(6)),
        )
        results = await asyncio.gather(*calls, return_exceptions=True)
        await full.until(lambda: full.num_calls == 0)
        took_s = time.monotonic() - started_at
    assert {code_of(result) for result in results} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    assert took_s <= timeout_s + SLACK_S


@pytest.mark.fault(52)
async def test_what_expires_in_the_queue_never_reaches_the_model(full: PacedServer) -> None:
    """A request whose deadline passes while it waits is never encoded."""
    full.step_s = 0.05
    async with connected(full.address) as channel:
        stub = stub_of(channel)
        running = [asyncio.create_task(stream(stub, LONG, max_length=30)) for _ in range(2)]
        await full.until(lambda: len(full.sources) == 2)
        waiting = await asyncio.gather(*(stream(stub, SHORT, timeout_s=0.3) for _ in range(5)))
        assert {one.code for one in waiting} == {grpc.StatusCode.DEADLINE_EXCEEDED}
        assert [one.num_messages for one in await asyncio.gather(*running)] == [30, 30]
    assert len(full.sources) == 2


@pytest.mark.fault(54)
async def test_a_deadline_that_the_queue_outlasts_is_refused_at_once(full: PacedServer) -> None:
    """Once the server knows how slow its queue is, a shorter deadline gets RESOURCE_EXHAUSTED and a pushback."""
    full.step_s = 0.02
    async with connected(full.address) as channel:
        stub = stub_of(channel)
        await asyncio.gather(*(stream(stub, SHORT, max_length=10) for _ in range(16)))
        waiting = [asyncio.create_task(stream(stub, SHORT, max_length=10)) for _ in range(30)]
        await full.until(lambda: full.admission.queue_length >= 28)
        doomed = await stream(stub, SHORT, timeout_s=0.4)
        assert doomed.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "deadline" in doomed.details
        assert 50 <= doomed.pushback_ms <= 5000
        patient = await stream(stub, SHORT, timeout_s=50.0)
        assert patient.is_ok
        assert all(one.is_ok for one in await asyncio.gather(*waiting))


@pytest.mark.fault(55)
async def test_a_call_without_a_deadline_gets_the_servers_own(full: PacedServer) -> None:
    """The stream ends with DEADLINE_EXCEEDED after the server's limit, which its trailing metadata tells."""
    full.step_s = 0.1
    async with connected(full.address) as channel:
        stub = stub_of(channel)
        started_at = time.monotonic()
        endless = await stream(stub, LONG, max_length=100, timeout_s=None)
        assert endless.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert 3.0 <= endless.ended_at - started_at <= 3.0 + SLACK_S
        full.step_s = 0.0
        short = await stream(stub, SHORT, timeout_s=None)
        bounded = await stream(stub, SHORT, timeout_s=20.0)
    assert short.is_ok
    assert [one.trailing["x-stepstream-max-call-ms"] for one in (endless, short)] == ["3000", "3000"]
    assert "x-stepstream-max-call-ms" not in bounded.trailing


@pytest.mark.fault(55)
async def test_an_interactive_call_that_its_caller_forgets_ends_too(full: PacedServer) -> None:
    """An idle interactive translation without a deadline ends with DEADLINE_EXCEEDED after the server's limit."""
    start = pb.StreamTranslateRequest(model=MODEL, text=SHORT)
    async with connected(full.address) as channel:
        call = stub_of(channel).TranslateInteractive()
        await call.write(pb.TranslateInteractiveRequest(start=start))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            async for _ in call:
                pass
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
