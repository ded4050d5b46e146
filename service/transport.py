"""How the server's connections behave: sizes, streams, and how long a peer may be silent. Options are gRPC's own."""

from __future__ import annotations

MAX_RESPONSE_BYTES = 16 * 2**20
"""A thousand texts with every hypothesis that can be asked for."""

HANDSHAKE_MS = 5_000
"""In which a connection is ready for calls, or closed."""
IDLE_MS = 300_000
"""After which a connection without calls is closed."""
PING_EVERY_MS, PING_ANSWER_MS = 20_000, 10_000
"""A connection that is silent is asked whether it lives, and closed without an answer."""
CLIENT_PING_MS = 5_000
"""A client that pings more often, without calls, is sent away after MAX_PING_STRIKES of them."""
MAX_PING_STRIKES = 2
MAX_PENDING_CALLS = 16_384
"""Calls that the event loop has not come to yet. Beyond them gRPC ends some itself, with CANCELLED and without a
pushback; its own limit is 1,000."""


def server_options(
    *,
    max_message_bytes: int,
    max_concurrent_streams: int,
    max_connection_age_s: float = 0.0,
    shares_port: bool = False,
) -> list[tuple[str, int]]:
    """The options of every gRPC port. max_message_bytes: of one message that a client sends; max_concurrent_streams: of
    one connection; max_connection_age_s: after which, give or take a tenth, a connection takes no new calls, 0 for
    never; shares_port: with other processes."""
    max_age = [("grpc.max_connection_age_ms", round(1_000 * max_connection_age_s))] if max_connection_age_s else []
    return [
        ("grpc.so_reuseport", int(shares_port)),  # by default two servers share a port in silence
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", MAX_RESPONSE_BYTES),
        ("grpc.max_concurrent_streams", max_concurrent_streams),
        ("grpc.server.max_pending_requests", MAX_PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", 2 * MAX_PENDING_CALLS),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
        ("grpc.max_connection_idle_ms", IDLE_MS),
        ("grpc.keepalive_time_ms", PING_EVERY_MS),
        ("grpc.keepalive_timeout_ms", PING_ANSWER_MS),
        ("grpc.http2.ping_timeout_ms", PING_ANSWER_MS),  # of the two, the one that closes a frozen peer's connection
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", CLIENT_PING_MS),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", CLIENT_PING_MS),
        ("grpc.http2.max_ping_strikes", MAX_PING_STRIKES),
        *max_age,
    ]
