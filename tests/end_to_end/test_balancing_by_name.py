"""Clients that are given a name for all replicas find each of them, and those that are added while they run."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing

import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from service.client.addresses import SERVICE
from service.client.client import AsyncClient
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceServicer, add_TranslationServiceServicer_to_server
from service.transport import server_options

LONG_S = 120.0
TYPE_A = 1


class NameServer:
    """Answers every question for an IPv4 address with `addresses`, over UDP on a thread of its own."""

    def __init__(self, addresses: list[str]) -> None:
        self.addresses = addresses
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while (asked := self._socket.recvfrom(512))[0]:
            question, who = asked
            self._socket.sendto(self._answer(question), who)

    def _answer(self, asked: bytes) -> bytes:
        """RFC 1035, section 4: the header, the question again, and a record for each address."""
        end = asked.index(b"\0", 12) + 5
        question, (kind,) = asked[12:end], struct.unpack("!H", asked[end - 4 : end - 2])
        records = [
            struct.pack("!HHHIH", 0xC00C, TYPE_A, 1, 0, 4) + socket.inet_aton(address)
            for address in (self.addresses if kind == TYPE_A else ())
        ]
        return asked[:2] + struct.pack("!HHHHH", 0x8180, 1, len(records), 0, 0) + question + b"".join(records)

    def stop(self) -> None:
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as own:
            own.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()


class Replica(TranslationServiceServicer):
    """Says which replica it is."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def GetModel(  # type: ignore[override]  # noqa: N802
        self, request: pb.GetModelRequest, context: grpc.aio.ServicerContext[pb.GetModelRequest, pb.GetModelResponse]
    ) -> pb.GetModelResponse:
        context.set_trailing_metadata((("x-request-id", "any"),))
        return pb.GetModelResponse(model=pb.Model(name=self._address))


@asynccontextmanager
async def replica(address: str, port: int, max_connection_age_s: float) -> AsyncIterator[int]:
    """The port of a server with the options of all our servers."""
    options = server_options(
        max_message_bytes=2**20, max_concurrent_streams=100, max_connection_age_s=max_connection_age_s
    )
    server = grpc.aio.server(options=options)
    healthy = health.aio.HealthServicer()
    await healthy.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    add_TranslationServiceServicer_to_server(Replica(address), server)
    port = server.add_insecure_port(f"{address}:{port}")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@pytest.fixture
def names() -> Iterator[NameServer]:
    server = NameServer(["127.0.0.2", "127.0.0.3"])
    yield server
    server.stop()


async def all_answer(client: AsyncClient, addresses: set[str]) -> None:
    """Ask until every one of these replicas, and only they, have answered several calls in a row."""
    async with asyncio.timeout(LONG_S):
        while True:
            if {(await client.get_model("any")).name for _ in range(4 * len(addresses))} == addresses:
                return
            await asyncio.sleep(0.05)


async def test_calls_go_to_every_address_of_a_name_and_to_those_it_gets_later(names: NameServer) -> None:
    """The connections grow old, so that the name is looked up again though no replica was lost."""
    first, second, third = "127.0.0.2", "127.0.0.3", "127.0.0.4"
    async with (
        replica(first, 0, 1.0) as port,
        replica(second, port, 1.0),
        replica(third, port, 1.0),
        AsyncClient(f"dns://{names.place}/replicas.example:{port}") as client,
    ):
        await all_answer(client, {first, second})
        names.addresses = [first, second, third]
        await all_answer(client, {first, second, third})


async def test_a_connection_that_grows_old_loses_no_call(names: NameServer) -> None:
    """Every call of two seconds of them is answered, while each connection lasts a fifth of one."""
    async with (
        replica("127.0.0.2", 0, 0.2) as port,
        replica("127.0.0.3", port, 0.2),
        AsyncClient(f"dns://{names.place}/replicas.example:{port}") as client,
    ):
        ends = asyncio.get_running_loop().time() + 2.0
        while asyncio.get_running_loop().time() < ends:
            assert (await client.get_model("any")).name in names.addresses
