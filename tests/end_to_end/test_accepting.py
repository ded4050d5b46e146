"""A server whose event loop is busy still takes new calls as they come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from service.accepting import NUM_ASKED_FOR, accepting_server
from service.calls import Call
from service.errors import InvalidRequestError, QueueFullError
from service.refusing import Refusal, Refuser

NUM_CALLS = 3 * NUM_ASKED_FOR
METHOD = "/test.Service/Call"
STREAM = "/test.Service/Stream"
CHAT = "/test.Service/Chat"
FULL = Refusal(Call("id", "Call"), QueueFullError("full", pushback_ms=250))
EMPTY = Refusal(Call("id", "Call"), InvalidRequestError("no message"))


class Handlers:
    """Counts the calls that have begun; each ends when it is let."""

    def __init__(self) -> None:
        self.num_begun = 0
        self.may_end = asyncio.Event()

    async def call(self, request: bytes, context: Any) -> bytes:
        self.num_begun += 1
        await self.may_end.wait()
        return request

    def add_to(self, server: grpc.aio.Server) -> None:
        methods = {"Call": grpc.unary_unary_rpc_method_handler(self.call)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", methods),))
        server.add_registered_method_handlers("test.Service", methods)


async def turns_to_begin(server: grpc.aio.Server) -> int:
    """Turns of the event loop, each busy for two milliseconds, until NUM_CALLS calls that came together have begun."""
    handlers = Handlers()
    handlers.add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await channel.channel_ready()
        calls = [channel.unary_unary(METHOD)(b"%d" % number) for number in range(NUM_CALLS)]
        turns = 0
        while handlers.num_begun < NUM_CALLS:
            turns += 1
            time.sleep(0.002)  # noqa: ASYNC251
            await asyncio.sleep(0)
        handlers.may_end.set()
        assert await asyncio.gather(*calls) == [b"%d" % number for number in range(NUM_CALLS)]
    await server.stop(1.0)
    return turns


@pytest.fixture
async def accepting() -> AsyncIterator[grpc.aio.Server]:
    server = accepting_server(interceptors=(), options=())
    yield server
    await server.stop(0)


async def test_calls_that_come_together_are_taken_together(accepting: grpc.aio.Server) -> None:
    assert await turns_to_begin(accepting) < await turns_to_begin(grpc.aio.server()) / 2


async def test_a_method_that_nobody_serves_is_unimplemented(accepting: grpc.aio.Server) -> None:
    Handlers().add_to(accepting)
    port = accepting.add_insecure_port("127.0.0.1:0")
    await accepting.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary("/test.Service/Other")(b"")
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_server_that_stops_ends_what_it_has_asked_for(accepting: grpc.aio.Server) -> None:
    Handlers().add_to(accepting)
    accepting.add_insecure_port("127.0.0.1:0")
    before = len(asyncio.all_tasks())
    await accepting.start()
    assert len(asyncio.all_tasks()) > before + NUM_ASKED_FOR
    await accepting.stop(1.0)
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) <= before + 1


class Door:
    """Refuses what asks for it, as a full server does; where it is broken, it fails."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bytes | None, str]] = []
        self.is_broken = False
        self.max_call_s = 20.0
        self.unread_calls: list[tuple[str, bool]] = []
        self.num_counted = 0

    def unread(self, path: str, metadata: object, *, is_late: bool) -> Refusal:
        self.unread_calls.append((path, is_late))
        return EMPTY

    def counted(self, refusal: Refusal) -> Refusal:
        self.num_counted += 1
        return refusal

    def may_refuse(self, path: str) -> bool:
        return path.startswith("/test.Service/")

    def refusal(
        self,
        path: str,
        metadata: Sequence[tuple[str, str | bytes]],
        peer: str,
        message: bytes | None,
        deserialize: Callable[[bytes], Any],
    ) -> Refusal | None:
        if self.is_broken:
            raise ValueError("broken")
        assert peer.startswith("ipv4:127.0.0.1:")
        self.seen.append((path, message, str(dict(metadata).get("who", ""))))
        return FULL if message is not None and deserialize(message) == b"refuse" else None


class Echoes:
    """What of the calls came to the handlers."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []

    async def call(self, request: bytes, context: Any) -> bytes:
        self.requests.append(request)
        return request

    async def stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        self.requests.append(request)
        for _ in range(3):
            yield request

    async def chat(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            self.requests.append(request)
            yield request

    def add_to(self, server: grpc.aio.Server) -> None:
        methods = {
            "Call": grpc.unary_unary_rpc_method_handler(self.call, _same, _same),
            "Stream": grpc.unary_stream_rpc_method_handler(self.stream, _same, _same),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat, _same, _same),
        }
        server.add_registered_method_handlers("test.Service", methods)


def _same(content: bytes) -> bytes:
    return content


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def echoes() -> Echoes:
    return Echoes()


@asynccontextmanager
async def guarded(door: Door, echoes: Echoes) -> AsyncIterator[grpc.aio.Channel]:
    server = accepting_server(interceptors=(), options=(), refuser=cast("Refuser", door))
    echoes.add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(1.0)


async def asked(channel: grpc.aio.Channel, path: str, request: bytes) -> tuple[str, str, list[bytes]]:
    """The status of one call, when to try again, and all that came."""
    came: list[bytes] = []
    call = {
        METHOD: lambda: channel.unary_stream(path),
        STREAM: lambda: channel.unary_stream(path),
        CHAT: lambda: channel.stream_stream(path),
    }[path]()(iter([request]) if path == CHAT else request, timeout=20, metadata=(("who", "me"),))
    try:
        async for response in call:
            came.append(response)
    except grpc.aio.AioRpcError as error:
        again = dict(error.trailing_metadata() or ()).get("grpc-retry-pushback-ms", "")
        return error.code().name, str(again), came
    return "OK", "", came


async def test_what_is_refused_meets_no_handler(door: Door, echoes: Echoes) -> None:
    async with guarded(door, echoes) as channel:
        for path in (METHOD, STREAM):
            for _ in range(NUM_CALLS):
                assert await asked(channel, path, b"refuse") == ("RESOURCE_EXHAUSTED", "250", [])
            assert door.seen == [(path, b"refuse", "me")] * NUM_CALLS
            door.seen.clear()
    assert echoes.requests == []


@pytest.mark.parametrize("max_call_s", [20.0, 0.05])
async def test_a_call_without_its_message_is_answered(door: Door, echoes: Echoes, max_call_s: float) -> None:
    """Once it has ended, or has lasted too long."""
    door.max_call_s = max_call_s
    is_late = max_call_s < 1.0
    async with guarded(door, echoes) as channel:
        for _ in range(NUM_CALLS):
            call = channel.stream_unary(METHOD)(timeout=20)
            if not is_late:
                await call.done_writing()
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call
            assert (raised.value.code(), raised.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "no message")
        assert await asked(channel, METHOD, b"whole") == ("OK", "", [b"whole"])
    assert door.unread_calls == [(METHOD, is_late)] * NUM_CALLS
    assert door.num_counted == NUM_CALLS
    assert echoes.requests == [b"whole"]


@pytest.mark.parametrize("is_broken", [False, True])
@pytest.mark.parametrize(("path", "num_responses"), [(METHOD, 1), (STREAM, 3), (CHAT, 1)])
async def test_what_is_let_in_is_served_as_always(
    door: Door, echoes: Echoes, path: str, num_responses: int, *, is_broken: bool
) -> None:
    door.is_broken = is_broken
    async with guarded(door, echoes) as channel:
        for number in range(NUM_CALLS):
            request = b"%d" % number
            assert await asked(channel, path, request) == ("OK", "", [request] * num_responses)
    assert len(echoes.requests) == NUM_CALLS
    assert is_broken or len(door.seen) == NUM_CALLS


async def test_a_client_that_goes_before_its_message_leaves_nothing(door: Door, echoes: Echoes) -> None:
    async with guarded(door, echoes) as channel:
        assert await asked(channel, METHOD, b"first") == ("OK", "", [b"first"])
        before = len(asyncio.all_tasks())
        for _ in range(2 * NUM_ASKED_FOR):
            call = channel.stream_unary(METHOD)(timeout=20)
            await asyncio.sleep(0.002)
            call.cancel()
        for _ in range(100):
            await asyncio.sleep(0.02)
            if len(asyncio.all_tasks()) <= before:
                break
        assert len(asyncio.all_tasks()) <= before
        assert await asked(channel, METHOD, b"last") == ("OK", "", [b"last"])
    assert echoes.requests == [b"first", b"last"]
    assert door.num_counted == 0
