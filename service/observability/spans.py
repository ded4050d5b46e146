"""gRPC's standard instrumentation, with each stream's span opened and ended in one task.

The instrumentation wraps a stream's generator by another one. Where a client goes away between two messages, nobody
closes that one before the collector of garbage does, in a context where the span cannot be taken back. Here it sees a
coroutine that writes the messages, which it knows from calls with one answer.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]
    Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]
Write = Callable[[Any, Any], Awaitable[None]]


class SpanInterceptor(grpc.aio.ServerInterceptor):
    """The standard interceptor, for handlers that are generators and for those that write."""

    def __init__(self, standard: grpc.aio.ServerInterceptor) -> None:
        self._standard = standard

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None or not handler.response_streaming:
            return await self._wrap(handler, handler_call_details)
        behavior: Any = handler.stream_stream if handler.request_streaming else handler.unary_stream
        write = _writing(behavior) if inspect.isasyncgenfunction(behavior) else behavior
        coders = (handler.request_deserializer, handler.response_serializer)
        wrapped: Any = await self._wrap(grpc.unary_unary_rpc_method_handler(write, *coders), handler_call_details)
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(wrapped.unary_unary, *coders)
        return grpc.unary_stream_rpc_method_handler(wrapped.unary_unary, *coders)

    async def _wrap(self, handler: Handler | None, details: grpc.HandlerCallDetails) -> Handler | None:
        async def known(_: grpc.HandlerCallDetails) -> Any:
            return handler

        return await self._standard.intercept_service(known, details)


def _writing(behavior: Any) -> Write:
    async def write_all(request: Any, context: Any) -> None:
        async with aclosing(behavior(request, context)) as responses:
            async for response in responses:
                await context.write(response)

    return write_all
