"""Wraps every gRPC method: opens its call, gives each error its status. The only place that sets a status."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError

from service.calls import Call, Calls, current_call
from service.errors import (
    DeadlineExceededError,
    EncodeFailedError,
    EngineFailedError,
    InvalidRequestError,
    ModelNotFoundError,
    QueueFullError,
    ServiceError,
    StoppingError,
)

STATUS: dict[type[ServiceError], grpc.StatusCode] = {
    InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    ModelNotFoundError: grpc.StatusCode.NOT_FOUND,
    QueueFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineExceededError: grpc.StatusCode.DEADLINE_EXCEEDED,
    EncodeFailedError: grpc.StatusCode.INTERNAL,
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
OURS = "/stepstream."
"""How the methods of this project begin; health and reflection keep their own statuses and are not counted."""


class StatusInterceptor(grpc.aio.ServerInterceptor):
    """Domain errors become their status with their message; any other error becomes INTERNAL without details."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

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
                return await behavior(_decode(handler, request), context)

        return grpc.unary_unary_rpc_method_handler(call, None, handler.response_serializer)

    def _stream(self, handler: Handler, method: str) -> Handler:
        behavior: Any = handler.stream_stream if handler.request_streaming else handler.unary_stream
        make = (
            grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
        )

        async def call(request: Any, context: Any) -> AsyncIterator[Any]:
            async with self._status(method, context):
                requests = _decode_all(handler, request) if handler.request_streaming else _decode(handler, request)
                async with aclosing(behavior(requests, context)) as responses:
                    async for response in responses:
                        yield response

        return make(call, None, handler.response_serializer)

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
        except (asyncio.CancelledError, GeneratorExit):
            if context.time_remaining() == 0:
                call.code = grpc.StatusCode.DEADLINE_EXCEEDED.name
            raise
        except Exception:
            _log.exception("request failed", method=method, request_id=call.request_id)
            await _abort(context, call, grpc.StatusCode.INTERNAL, "an internal error; the server's log tells more")
        finally:
            self._calls.ended(call)


async def _abort(
    context: Any, call: Call, code: grpc.StatusCode, details: str, pushback_ms: int | None = None
) -> NoReturn:
    call.code = code.name
    trailing = [(REQUEST_ID, call.request_id)]
    if pushback_ms is not None:
        trailing.append((PUSHBACK, str(pushback_ms)))
    await context.abort(code, details, tuple(trailing))
    raise AssertionError("abort raises")


def _decode(handler: Handler, data: bytes) -> Any:
    """A request; raises InvalidRequestError. gRPC would answer UNKNOWN, with the exception, before any of our code."""
    assert handler.request_deserializer is not None
    try:
        return handler.request_deserializer(data)
    except DecodeError:
        raise InvalidRequestError("the message is not what this method takes, or its text is not UTF-8") from None


async def _decode_all(handler: Handler, requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _decode(handler, request)


def _request_id(context: Any) -> str:
    """What the client calls the request, if that can be an id; otherwise one of our own."""
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID and isinstance(value, str) and re.fullmatch(REQUEST_ID_PATTERN, value):
            return value
    return uuid.uuid4().hex
