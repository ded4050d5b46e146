"""How every client connects to a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio

from service.client.credentials import Credentials

DEFAULT_ADDRESS = "127.0.0.1:8001"
CONNECT_TIMEOUT_S = 4.0
MAX_RESPONSE_BYTES = 16 * 2**20  # as much as a server sends; how much it takes is its own setting


def channel_options(connect_timeout_s: float) -> list[tuple[str, int]]:
    """The options of a gRPC channel, asynchronous or not."""
    connect_timeout_ms = round(connect_timeout_s * 1000)
    return [
        ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.min_reconnect_backoff_ms", connect_timeout_ms),  # gRPC's name for the time one connect may take
        ("grpc.initial_reconnect_backoff_ms", min(500, connect_timeout_ms)),
        ("grpc.max_reconnect_backoff_ms", max(5_000, connect_timeout_ms)),
        ("grpc.dns_ares_query_timeout", connect_timeout_ms),
    ]


def open_async_channel(target: str, options: Sequence[tuple[str, Any]], credentials: Credentials) -> grpc.aio.Channel:
    """A channel for asyncio."""
    secure = credentials.for_channel()
    if secure is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, secure, options=options)


def open_channel(target: str, options: Sequence[tuple[str, Any]], credentials: Credentials) -> grpc.Channel:
    """A channel for threads."""
    secure = credentials.for_channel()
    if secure is None:
        return grpc.insecure_channel(target, options=options)
    return grpc.secure_channel(target, secure, options=options)
