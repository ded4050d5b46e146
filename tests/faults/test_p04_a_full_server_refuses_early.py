"""The queue is bounded, whoever is refused hears of it at once, and nobody else is hurt."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.pb import translation_pb2 as pb
from tests.reference.paced_server import (
    LONGEST_S,
    MODEL,
    Outcome,
    PacedServer,
    connected,
    paced_server,
    stream,
    stub_of,
)

TEXT = "A man in a blue shirt is standing on a ladder cleaning a window."
FULL, GONE = grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE
LOW, HIGH = pb.PRIORITY_LOW, pb.PRIORITY_HIGH


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PacedServer]:
    """Two rows, and a queue of six requests and 600 tokens."""
    limits = {"max_slots": 2, "max_queue_length": 6, "max_queue_tokens": 600, "max_queue_wait_s": 600.0}
    async with paced_server(tmp_path, monkeypatch, **limits) as server:
        yield server
        await server.until_idle()


@pytest.fixture
async def stub(server: PacedServer) -> AsyncIterator[Any]:
    async with connected(server.address) as channel:
        await channel.channel_ready()
        yield stub_of(channel)


async def fill(server: PacedServer, stub: Any, *priorities: Any, max_length: int = 40) -> list[asyncio.Task[Outcome]]:
    """Streams that run and wait, one after another."""
    tasks = []
    for number, priority in enumerate(priorities):
        tasks.append(asyncio.create_task(stream(stub, TEXT, priority=priority, max_length=max_length)))
        await server.until(lambda number=number: server.admission._num_rows == number + 1)
        if number < 2:
            await server.until(lambda number=number: len(server.sources) > number)
    return tasks


async def outcomes(tasks: list[asyncio.Task[Outcome]]) -> list[Outcome]:
    return await asyncio.gather(*tasks)


@pytest.mark.fault(33)
async def test_the_queue_is_bounded_and_what_was_admitted_is_served_as_ever(server: PacedServer, stub: Any) -> None:
    """Of 40 calls those that fit give what one alone gives; the others get RESOURCE_EXHAUSTED and a pushback."""
    request = pb.TranslateRequest(model=MODEL, texts=[TEXT])
    alone = (await stub.Translate(request)).translations[0].text
    server.step_s = 0.02
    calls = [asyncio.ensure_future(stub.Translate(request)) for _ in range(40)]
    deepest = 0
    while not all(call.done() for call in calls):
        deepest = max(deepest, server.admission.queue_length)
        await asyncio.sleep(0.005)
    results = await asyncio.gather(*calls, return_exceptions=True)
    served = [result for result in results if isinstance(result, pb.TranslateResponse)]
    refused = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
    assert 8 <= len(served) < 40
    assert len(served) + len(refused) == 40
    assert {one.translations[0].text for one in served} == {alone}
    assert deepest == 6
    for error in refused:
        assert error.code() is FULL
        assert 50 <= int(dict(error.trailing_metadata())["grpc-retry-pushback-ms"]) <= 5000


@pytest.mark.fault(33)
async def test_a_refusal_does_not_wait_for_the_engine(server: PacedServer, stub: Any) -> None:
    """While one decoder step takes seconds, a stream is refused long before it ends."""
    server.step_s = 0.05
    tasks = await fill(server, stub, *[0] * 8)
    server.step_s = 6.0
    await asyncio.sleep(0.1)
    started_at = time.monotonic()
    refused = await stream(stub, TEXT)
    assert refused.code is FULL
    assert refused.ended_at - started_at < 5.0
    server.step_s = 0.0
    assert all(one.is_ok for one in await outcomes(tasks))


async def test_a_request_of_many_texts_is_admitted_or_refused_as_one(server: PacedServer, stub: Any) -> None:
    """Of a Translate of 300 texts that does not fit nothing is encoded; where nobody waits it is served whole."""
    texts = pb.TranslateRequest(model=MODEL, texts=[TEXT] * 300, options=pb.DecodingOptions(max_length=2))
    assert len((await stub.Translate(texts)).translations) == 300
    server.step_s = 0.1
    tasks = await fill(server, stub, *[0] * 3)
    with pytest.raises(grpc.aio.AioRpcError, match="source tokens") as raised:
        await stub.Translate(texts)
    assert raised.value.code() is FULL
    assert all(one.is_ok for one in await outcomes(tasks))
    assert len(server.sources) == 303


async def test_a_higher_priority_takes_the_place_of_the_newest_lower_one(
    server: PacedServer, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest waiting LOW stream gets RESOURCE_EXHAUSTED and a pushback; the HIGH one goes before the others."""
    monkeypatch.setattr("service.engine.fair_queue.AGING_S", 600.0)
    server.step_s = 0.05
    tasks = await fill(server, stub, *[LOW] * 8)
    urgent = await stream(stub, TEXT, priority=HIGH, max_length=3)
    ended = await outcomes(tasks)
    assert urgent.is_ok
    assert [one.code for one in ended] == [grpc.StatusCode.OK] * 7 + [FULL]
    assert ended[7].pushback_ms
    assert "priority" in ended[7].details
    assert ended[7].num_messages == 0
    assert sum(one.ended_at < urgent.ended_at for one in ended[:7]) <= 4


async def test_the_gate_is_closed_while_not_even_the_highest_priority_could_be_taken(
    server: PacedServer, stub: Any
) -> None:
    """A server full of HIGH streams refuses every call before it reads it, and goes on telling of itself."""
    server.step_s = 0.05
    tasks = await fill(server, stub, *[HIGH] * 8)
    for priority in (LOW, HIGH):
        refused = await stream(stub, TEXT, priority=priority)
        assert (refused.code, refused.details) == (FULL, "the server is full; try again later")
        assert refused.pushback_ms
    assert len((await stub.ListModels(pb.ListModelsRequest())).models) == 1
    assert all(one.is_ok for one in await outcomes(tasks))


async def test_health_answers_while_the_server_is_full(server: PacedServer, stub: Any) -> None:
    """Health says SERVING while every other call is refused."""
    server.step_s = 0.05
    tasks = await fill(server, stub, *[HIGH] * 8)
    async with connected(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", MODEL):
            assert (await stream(stub, TEXT)).code is FULL
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service), timeout=LONGEST_S)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
    await outcomes(tasks)


async def test_one_client_that_floods_does_not_make_another_wait_for_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One client has 200 streams waiting; another's single one joins next but one, and both share the queue."""
    limits = {"max_slots": 1, "max_queue_length": 200, "max_queue_wait_s": 600.0}
    async with paced_server(tmp_path, monkeypatch, **limits) as server, forwarder("127.0.0.2", server) as other:
        async with connected(server.address) as channel, connected(other) as other_channel:
            flood = [asyncio.create_task(stream(stub_of(channel), TEXT, max_length=2)) for _ in range(250)]
            server.step_s = 0.3
            await server.until(lambda: server.admission.queue_length + sum(task.done() for task in flood) >= 249)
            num_done = sum(task.done() and task.result().is_ok for task in flood)
            server.step_s = 0.02
            single = await stream(stub_of(other_channel), TEXT, max_length=2)
            assert single.is_ok
            ended = await outcomes(flood)
            before = sum(one.is_ok and one.ended_at < single.ended_at for one in ended)
            assert before - num_done <= 30
            assert sum(one.is_ok for one in ended) >= 200
        await server.until_idle()


@pytest.mark.fault(56)
async def test_a_stopping_server_says_when_to_try_again(server: PacedServer, stub: Any) -> None:
    """A call to a server that stops gets UNAVAILABLE and a pushback."""
    server.step_s = 0.05
    tasks = await fill(server, stub, 0)
    stopping = asyncio.create_task(server.server._calls.stop(timeout_s=LONGEST_S))
    await asyncio.sleep(0)
    refused = await stream(stub, TEXT)
    assert refused.code is GONE
    assert refused.pushback_ms == 0  # another server may have it at once
    assert all(one.is_ok for one in await outcomes(tasks))
    assert await stopping == 0


@pytest.mark.fault(33)
async def test_ten_thousand_streams_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as rows and queue hold are admitted, the rest get RESOURCE_EXHAUSTED and a pushback; nothing is left."""
    limits = {"max_slots": 64, "max_queue_length": 100, "max_queue_wait_s": 600.0}
    async with paced_server(tmp_path, monkeypatch, **limits) as server:
        server.step_s = 0.5
        channels = [connected(server.address) for _ in range(20)]
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        calls: list[asyncio.Task[Outcome]] = []

        def num_open() -> int:
            return sum(not call.done() for call in calls)

        for wave in range(100):
            stub = stub_of(channels[wave % 20])
            calls += [asyncio.create_task(stream(stub, TEXT, max_length=200, timeout_s=600.0)) for _ in range(100)]
            await server.until(lambda: num_open() <= 264)
        await server.until(lambda: num_open() == 164)
        refused = [call.result() for call in calls if call.done()]
        assert Counter(one.code for one in refused) == {FULL: 10_000 - 164}
        assert all(50 <= one.pushback_ms <= 5000 for one in refused)
        assert server.admission.queue_length == 100
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await server.until_idle()
        server.step_s = 0.0
        assert (await stream(stub_of(channels[0]), TEXT)).is_ok
        await asyncio.gather(*(channel.close() for channel in channels))


@asynccontextmanager
async def forwarder(local_host: str, server: PacedServer) -> AsyncIterator[str]:
    """An address that leads to the server, which sees its callers come from local_host."""
    pipes: set[asyncio.Task[None]] = set()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(2**16):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = ("127.0.0.1", server.server.port)
        to_server = await asyncio.open_connection(*address, local_addr=(local_host, 0))
        pipes.update(asyncio.create_task(pipe(*ends)) for ends in ((reader, to_server[1]), (to_server[0], writer)))

    listener = await asyncio.start_server(connect, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for task in pipes:
            task.cancel()
        await asyncio.gather(*pipes, return_exceptions=True)
