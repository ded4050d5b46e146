"""A server whose event loop is busy still takes new calls as they come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from service.accepting import NUM_ASKED_FOR, accepting_server

NUM_CALLS = 3 * NUM_ASKED_FOR
METHOD = "/test.Service/Call"


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
