"""How every client connects to a server."""

from __future__ import annotations

DEFAULT_ADDRESS = "127.0.0.1:8001"
CONNECT_TIMEOUT_S = 4.0
MAX_MESSAGE_BYTES = 64 * 2**20  # 1,024 texts of 10,000 characters, four bytes each, fit


def channel_options(connect_timeout_s: float) -> list[tuple[str, int]]:
    """The options of a gRPC channel, asynchronous or not."""
    connect_timeout_ms = round(connect_timeout_s * 1000)
    return [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.min_reconnect_backoff_ms", connect_timeout_ms),  # gRPC's name for the time one connect may take
        ("grpc.initial_reconnect_backoff_ms", min(500, connect_timeout_ms)),
        ("grpc.max_reconnect_backoff_ms", max(5_000, connect_timeout_ms)),
        ("grpc.dns_ares_query_timeout", connect_timeout_ms),
    ]
