"""The options of every connection, as a server on a socket keeps them."""

from __future__ import annotations

import asyncio
import socket
import time

import grpc
import pytest

from service.settings import Settings
from service.transport import HANDSHAKE_MS, server_options
from tests.faults.security.answers import REQUESTS, SERVICE, ask
from tests.faults.security.servers import Started


def test_every_option_that_bounds_a_connection_is_set() -> None:
    settings = Settings()
    options = dict(
        server_options(
            max_message_bytes=settings.max_message_bytes, max_concurrent_streams=settings.max_concurrent_streams
        )
    )
    assert options == {
        "grpc.so_reuseport": 0,
        "grpc.max_receive_message_length": 2**20,
        "grpc.max_send_message_length": 16 * 2**20,
        "grpc.max_concurrent_streams": 1024,
        "grpc.server.max_pending_requests": 16_384,
        "grpc.server.max_pending_requests_hard_limit": 32_768,
        "grpc.server_handshake_timeout_ms": 5_000,
        "grpc.max_connection_idle_ms": 300_000,
        "grpc.keepalive_time_ms": 20_000,
        "grpc.keepalive_timeout_ms": 10_000,
        "grpc.http2.ping_timeout_ms": 10_000,
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.min_ping_interval_without_data_ms": 5_000,
        "grpc.http2.min_recv_ping_interval_without_data_ms": 5_000,
        "grpc.http2.max_ping_strikes": 2,
    }


@pytest.mark.fault(28)
@pytest.mark.parametrize("sent", [b"", b"PRI * HTTP/2.0\r\n"], ids=["nothing", "half of the preface"])
def test_a_connection_that_does_not_become_one_is_closed(server: Started, sent: bytes) -> None:
    """Closed once the time for the handshake has passed."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(sent)
        while connection.recv(4_096):
            pass
    assert time.monotonic() - begun >= 0.9 * HANDSHAKE_MS / 1_000


@pytest.mark.fault(34)
async def test_more_calls_than_a_connection_may_have_wait_in_the_client(inside_narrow: str) -> None:
    """A call above the limit is not heard of by the server before another has ended; a second connection serves."""
    async with grpc.aio.insecure_channel(inside_narrow) as channel:
        held = [channel.stream_stream(f"{SERVICE}TranslateInteractive")(timeout=120) for _ in range(4)]
        for call in held:
            await call.write(REQUESTS["TranslateInteractive"].SerializeToString())
            assert await call.read()
        path, message = f"{SERVICE}GetModel", REQUESTS["GetModel"].SerializeToString()
        waiting = channel.unary_unary(path)(message, timeout=120)
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.insecure_channel(inside_narrow, options=options) as other:
            await other.unary_unary(path)(message, timeout=60)
        assert not waiting.done()
        held[0].cancel()
        async with asyncio.timeout(60):
            await waiting
        for call in held[1:]:
            call.cancel()


@pytest.mark.fault(6)
def test_a_message_just_within_the_limit_is_read(channel: grpc.Channel) -> None:
    """Read and then refused for its text; one byte more than the limit is not read."""
    room = 2**20 - 100
    assert ask(channel, "StreamTranslate", b"\x1a" + _varint(room) + b"a" * room).name == "INVALID_ARGUMENT"
    assert ask(channel, "StreamTranslate", b"\x1a" + _varint(2**20) + b"a" * 2**20).name == "RESOURCE_EXHAUSTED"


def _varint(number: int) -> bytes:
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])
