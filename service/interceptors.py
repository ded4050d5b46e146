"""Wraps every gRPC method: opens its call, gives each error its status. The only place that sets a status."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import structlog

from service.calls import Call, Calls, current_call
from service.errors import (
    ClientStalledError,
    DeadlineExceededError,
    EncodeFailedError,
    EngineFailedError,
    InvalidRequestError,
    ModelNotFoundError,
    QueueFullError,
    ServiceError,
    StoppingError,
)
from service.writing import write_all

STATUS: dict[type[ServiceError], grpc.StatusCode] = {
    InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    ModelNotFoundError: grpc.StatusCode.NOT_FOUND,
    QueueFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineExceededError: grpc.StatusCode.DEADLINE_EXCEEDED,
    EncodeFailedError: grpc.StatusCode.INTERNAL,
    ClientStalledError: grpc.StatusCode.DEADLINE_EXCEEDED,
    StoppingError: grpc.StatusCode.UNAVAILABLE,
    EngineFailedError: grpc.StatusCode.UNAVAILABLE,
}

_log = structlog.get_logger()
if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]


REQUEST_ID = "x-request-id"
"""Metadata that names a request: from the client, or of our own making; always in the trailing metadata."""
REQUEST_ID_PATTERN = r"[A-Za-z0-9._-]{1,64}"
PUSHBACK = "grpc-retry-pushback-ms"
"""Trailing metadata that tells a client when to try again (gRFC A6)."""
STATUS_S = 1.0
"""Seconds to wait until a status was sent. Behind a message that the client does not take it stays with gRPC, which
sends it if the client ever does, and the call is over for everything else."""
OURS = "/stepstream."
"""How the methods of this project begin; health and reflection keep their own statuses and are not counted."""


class StatusInterceptor(grpc.aio.ServerInterceptor):
    """Domain errors become their status with their message; any other error becomes INTERNAL without details."""

    def __init__(self, calls: Calls, *, max_write_stall_s: float) -> None:
        """max_write_stall_s: how long a client may leave a message of its stream unread."""
        self._calls = calls
        self._max_write_stall_s = max_write_stall_s

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(OURS):
            return handler
        method = handler_call_details.method.rpartition("/")[2]
        if handler.response_streaming:
            return self._stream(handler, method)
        return self._unary(handler, method)

    def _unary(self, handler: Handler, method: str) -> Handler:
        behavior: Any = handler.unary_unary

        async def call(request: Any, context: Any) -> Any:
            async with self._status(method, context):
                return await behavior(request, context)

        return grpc.unary_unary_rpc_method_handler(call, handler.request_deserializer, handler.response_serializer)

    def _stream(self, handler: Handler, method: str) -> Handler:
        behavior: Any = handler.stream_stream if handler.request_streaming else handler.unary_stream
        make = (
            grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
        )

        async def call(request: Any, context: Any) -> None:
            is_first = True

            async def write(response: Any) -> None:
                # Headers by themselves, and none before the first token: a status can then follow a message that nobody
                # takes, and a request without a token can still be tried again.
                nonlocal is_first
                if is_first:
                    await context.send_initial_metadata(())
                    is_first = False
                await context.write(response)

            async with self._status(method, context), aclosing(behavior(request, context)) as responses:
                await write_all(responses, write, max_stall_s=self._max_write_stall_s)

        return make(call, handler.request_deserializer, handler.response_serializer)

    @asynccontextmanager
    async def _status(self, method: str, context: Any) -> AsyncIterator[None]:
        call = Call(_request_id(context), method, peer=context.peer())
        current_call.set(call)
        call.code = grpc.StatusCode.CANCELLED.name
        context.set_trailing_metadata(((REQUEST_ID, call.request_id),))
        try:
            with self._calls.running(call):
                yield
            call.code = grpc.StatusCode.OK.name
        except ServiceError as error:
            await _abort(context, call, STATUS[type(error)], str(error), error.pushback_ms)
        except (asyncio.CancelledError, grpc.aio.BaseError):  # the client has gone, perhaps while it was written to
            if context.time_remaining() == 0:
                call.code = grpc.StatusCode.DEADLINE_EXCEEDED.name
            raise
        except Exception:
            _log.exception("request failed", method=method, request_id=call.request_id)
            await _abort(context, call, grpc.StatusCode.INTERNAL, "an internal error; the server's log tells more")
        finally:
            self._calls.ended(call)


async def _abort(context: Any, call: Call, code: grpc.StatusCode, details: str, pushback_ms: int | None = None) -> None:
    call.code = code.name
    trailing = [(REQUEST_ID, call.request_id)]
    if pushback_ms is not None:
        trailing.append((PUSHBACK, str(pushback_ms)))
    with suppress(TimeoutError):
        async with asyncio.timeout(STATUS_S):
            await context.abort(code, details, tuple(trailing))


def _request_id(context: Any) -> str:
    """What the client calls the request, if that can be an id; otherwise one of our own."""
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID and isinstance(value, str) and re.fullmatch(REQUEST_ID_PATTERN, value):
            return value
    return uuid.uuid4().hex
