"""Wraps every gRPC method: gives each error its status and counts requests. The only place that sets a status."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import structlog

from service.calls import Calls
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
from service.metrics import Metrics

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


OURS = "/stepstream."
"""How the methods of this project begin; health and reflection keep their own statuses and are not counted."""


class StatusInterceptor(grpc.aio.ServerInterceptor):
    """Domain errors become their status with their message; any other error becomes INTERNAL without details."""

    def __init__(self, metrics: Metrics, calls: Calls) -> None:
        self._metrics = metrics
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
                return await behavior(request, context)

        return grpc.unary_unary_rpc_method_handler(call, handler.request_deserializer, handler.response_serializer)

    def _stream(self, handler: Handler, method: str) -> Handler:
        behavior: Any = handler.stream_stream if handler.request_streaming else handler.unary_stream
        make = (
            grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
        )

        async def call(request: Any, context: Any) -> AsyncIterator[Any]:
            async with self._status(method, context), aclosing(behavior(request, context)) as responses:
                async for response in responses:
                    yield response

        return make(call, handler.request_deserializer, handler.response_serializer)

    @asynccontextmanager
    async def _status(self, method: str, context: Any) -> AsyncIterator[None]:
        started = time.monotonic()
        code = grpc.StatusCode.CANCELLED
        try:
            with self._calls.running():
                yield
            code = grpc.StatusCode.OK
        except ServiceError as error:
            code = STATUS[type(error)]
            await context.abort(code, str(error))
        except (asyncio.CancelledError, GeneratorExit):
            if context.time_remaining() == 0:
                code = grpc.StatusCode.DEADLINE_EXCEEDED
            raise
        except Exception:
            code = grpc.StatusCode.INTERNAL
            _log.exception("request failed", method=method)
            await context.abort(code, "an internal error; the server's log tells more")
        finally:
            self._metrics.request_ended(method=method, code=code.name, seconds=time.monotonic() - started)
