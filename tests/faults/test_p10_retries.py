"""Trying again must not be what brings servers down."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest

from service.client.client import AsyncClient
from service.client.errors import OverloadedError, ServerError, ServerUnreachableError
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import (
    TranslationServiceServicer,
    TranslationServiceStub,
    add_TranslationServiceServicer_to_server,
)
from tests.faults.load import MODEL, TEXTS
from tests.faults.replicas import LIMIT_S, running_replicas, store_of

NUM_CALLS = 600
VICTIM = """
import os, sys, threading
from concurrent.futures import ThreadPoolExecutor
import grpc
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceServicer, add_TranslationServiceServicer_to_server

class Victim(TranslationServiceServicer):
    def Translate(self, request, context):
        if request.texts[0] == "poison":
            os._exit(1)
        translations = [pb.Translation(text=text.upper(), finish_reason=1) for text in request.texts]
        return pb.TranslateResponse(translations=translations, version=1)

    def StreamTranslate(self, request, context):
        if not request.resume.token_ids:
            yield pb.StreamTranslateResponse(step=pb.Step(index=0, token_id=5, text_delta="A"), version=1)
        if request.text == "poison":
            os._exit(1)
        yield pb.StreamTranslateResponse(step=pb.Step(index=1, token_id=3), completion=pb.Completion(finish_reason=1))

server = grpc.server(ThreadPoolExecutor(8))
add_TranslationServiceServicer_to_server(Victim(), server)
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
threading.Event().wait()
"""


class Refusing(TranslationServiceServicer):
    """Counts what it refuses, all of it or some."""

    def __init__(self, code: grpc.StatusCode, *, one_in: int = 1) -> None:
        self._code = code
        self._one_in = one_in
        self.num_requests = 0

    async def Translate(self, request: pb.TranslateRequest, context: Any) -> pb.TranslateResponse:  # noqa: N802
        self.num_requests += 1
        context.set_trailing_metadata((("x-request-id", "a"), ("grpc-retry-pushback-ms", "1")))
        if self.num_requests % self._one_in == 0:
            await context.abort(self._code, "come back later")
        return pb.TranslateResponse(translations=[pb.Translation(finish_reason=pb.FINISH_REASON_MAX_LENGTH)])


@asynccontextmanager
async def serving(servicer: TranslationServiceServicer) -> AsyncIterator[str]:
    server = grpc.aio.server()
    add_TranslationServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


async def call_many(address: str) -> int:
    """NUM_CALLS translations, 20 at a time, of one client: how many of them failed."""
    left = iter(range(NUM_CALLS))
    failed = 0

    async def work(client: AsyncClient) -> None:
        nonlocal failed
        for _ in left:
            try:
                await client.translate(["a"], model="m")
            except (OverloadedError, ServerUnreachableError):
                failed += 1

    async with AsyncClient(address) as client:
        await asyncio.gather(*(work(client) for _ in range(20)))
    return failed


@pytest.mark.fault(64)
@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
async def test_servers_that_refuse_everything_get_hardly_more_than_what_is_asked(code: grpc.StatusCode) -> None:
    """Every request is refused, with a time to come back: a client's retries are less than 1 % of its requests."""
    servicer = Refusing(code)
    async with serving(servicer) as address:
        assert await call_many(address) == NUM_CALLS
    assert NUM_CALLS < servicer.num_requests <= 1.01 * NUM_CALLS


@pytest.mark.fault(64)
@pytest.mark.parametrize("one_in", [2, 4])
async def test_servers_that_refuse_a_share_get_a_tenth_more_at_most(one_in: int) -> None:
    """A half or a quarter of the requests is refused: a client's retries are at most a tenth of its requests."""
    servicer = Refusing(grpc.StatusCode.UNAVAILABLE, one_in=one_in)
    async with serving(servicer) as address:
        await call_many(address)
    assert NUM_CALLS < servicer.num_requests <= 1.1 * NUM_CALLS


@pytest.fixture
def victims() -> Iterator[list[subprocess.Popen[str]]]:
    """Four servers whose processes end with a request for "poison"."""
    with ExitStack() as stack:
        processes = []
        for _ in range(4):
            process = subprocess.Popen([sys.executable, "-c", VICTIM], stdout=subprocess.PIPE, text=True)
            processes.append(stack.enter_context(process))
            stack.callback(process.kill)
        yield processes


async def read(client: AsyncClient, text: str) -> None:
    async for _ in client.stream(text, model="m"):
        pass


def address_of(victims: list[subprocess.Popen[str]]) -> str:
    return ",".join(f"127.0.0.1:{process.stdout.readline().strip()}" for process in victims)  # type: ignore[union-attr]


@pytest.mark.fault(65)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_request_that_kills_servers_kills_two_at_most(
    victims: list[subprocess.Popen[str]], is_stream: bool
) -> None:
    """A request ends the process of whichever server gets it: two of four are lost, then it is an error, and what the
    other two are asked for is answered."""
    address = await asyncio.to_thread(address_of, victims)
    async with AsyncClient(address) as client:
        for _ in range(8):
            await client.translate(["a"], model="m")
        with pytest.raises((ServerError, ServerUnreachableError)):
            await (read(client, "poison") if is_stream else client.translate(["poison"], model="m"))
        await asyncio.sleep(0.5)
        assert sum(process.poll() is not None for process in victims) == 2
        for _ in range(8):
            assert (await client.translate(["a"], model="m"))[0].text == "A"


@pytest.mark.fault(65, 17)
async def test_a_server_refuses_what_has_been_tried_too_often(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A fifth attempt, as the metadata counts it, is FAILED_PRECONDITION before any work; a number that is none
    counts as the first."""
    request = pb.TranslateRequest(model=MODEL, texts=[TEXTS[0]])
    with running_replicas(1, store_of(tmp_path_factory.mktemp("store"), MODEL)) as (replica,):
        async with grpc.aio.insecure_channel(replica.address) as channel:
            stub = TranslationServiceStub(channel)
            for number in ("1", "4", "-5", "many", "5" * 40):
                answer = await stub.Translate(request, metadata=(("x-stepstream-attempt", number),), timeout=LIMIT_S)
                assert answer.translations[0].text
            with pytest.raises(grpc.aio.AioRpcError, match="tried 4 times") as raised:
                await stub.Translate(request, metadata=(("x-stepstream-attempt", "5"),), timeout=LIMIT_S)
    assert raised.value.code() == grpc.StatusCode.FAILED_PRECONDITION
