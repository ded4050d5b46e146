"""Spans of a client's calls, by gRPC's standard instrumentation, in an application that has set a tracer provider."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import Any

import grpc
import grpc.aio

_SDK = "opentelemetry.sdk.trace"


def traced(channel: grpc.Channel) -> grpc.Channel:
    """The channel, whose calls open spans and carry them to the server where the application traces."""
    if not _is_traced():
        return channel
    from opentelemetry.instrumentation.grpc import client_interceptor
    from opentelemetry.instrumentation.grpc.grpcext import intercept_channel

    intercepted: grpc.Channel = intercept_channel(channel, client_interceptor())  # type: ignore[no-untyped-call]
    return intercepted


def cancel(call: Any) -> None:
    """End a stream of a channel that `traced` gave: one that is traced is a generator, and ends when it is closed."""
    if isinstance(call, Generator):
        call.close()
    else:
        call.cancel()


def status_of(call: Any) -> tuple[Any, str, Any]:
    """Code, details and trailing metadata of such a stream, once it has ended; one that is traced tells no more than
    that it has ended well."""
    if isinstance(call, Generator):
        return grpc.StatusCode.OK, "", ()
    return call.code(), call.details(), call.trailing_metadata()


def tracing_interceptors() -> list[Any]:
    """As `traced`, for a channel of asyncio."""
    if not _is_traced():
        return []
    from opentelemetry.instrumentation.grpc import aio_client_interceptors

    interceptors: list[grpc.aio.ClientInterceptor] = aio_client_interceptors()  # type: ignore[no-untyped-call]
    return interceptors


def _is_traced() -> bool:
    """Whoever sets a tracer provider has loaded the kit that has one; nobody else waits for it to be imported."""
    if _SDK not in sys.modules:
        return False
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    return isinstance(trace.get_tracer_provider(), TracerProvider)
