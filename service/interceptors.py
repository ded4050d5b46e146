"""Wraps every gRPC method: opens its call, gives each error its status. The only place that sets a status."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio
import structlog

from service.admission.pushback import RESTART_S, pushback_ms
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


REFUSALS = (QueueFullError, StoppingError, EngineFailedError)
"""What may succeed later or elsewhere: the caller is always told when to try again."""
REQUEST_ID = "x-request-id"
"""Metadata that names a request: from the client, or of our own making; always in the trailing metadata."""
REQUEST_ID_PATTERN = r"[A-Za-z0-9._-]{1,64}"
PUSHBACK = "grpc-retry-pushback-ms"
"""Trailing metadata that tells a client when to try again (gRFC A6)."""
MAX_CALL = "x-stepstream-max-call-ms"
"""Trailing metadata of a call without a deadline: how long the server lets it take."""
TRANSLATING = frozenset(("Translate", "StreamTranslate", "TranslateInteractive", "Score"))
"""The methods that use a model, and are refused where it is full."""
OURS = "/stepstream."
"""How the methods of this project begin; health and reflection keep their own statuses and are not counted."""


class StatusInterceptor(grpc.aio.ServerInterceptor):
    """Domain errors become their status with their message; any other error becomes INTERNAL without details."""

    def __init__(
        self, calls: Calls, *, gate: Callable[[str], None] = lambda _: None, max_call_s: float | None = None
    ) -> None:
        """gate raises ServiceError for a client whose call is refused before anything of it is read. max_call_s is how
        long a call may take whose caller has set no deadline."""
        self._calls = calls
        self._gate = gate
        self._max_call_s = max_call_s

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
        call = Call(_request_id(context), method, peer=context.peer())
        current_call.set(call)
        call.code = grpc.StatusCode.CANCELLED.name
        remaining_s = context.time_remaining()
        trailing = [(REQUEST_ID, call.request_id)]
        if remaining_s is None and (remaining_s := self._max_call_s) is not None:
            trailing.append((MAX_CALL, str(round(1e3 * remaining_s))))
        if remaining_s is not None:
            call.deadline = call.started_at + remaining_s
        context.set_trailing_metadata(tuple(trailing))
        try:
            with self._calls.running(call):
                if method in TRANSLATING:
                    self._gate(call.client)
                yield
            call.code = grpc.StatusCode.OK.name
        except ServiceError as error:
            if (pushback := error.pushback_ms) is None and isinstance(error, REFUSALS):
                pushback = pushback_ms(RESTART_S)
            if pushback is not None:
                trailing.append((PUSHBACK, str(pushback)))
            await _abort(context, call, STATUS[type(error)], str(error), trailing)
        except (asyncio.CancelledError, GeneratorExit):
            if context.time_remaining() == 0:
                call.code = grpc.StatusCode.DEADLINE_EXCEEDED.name
            raise
        except Exception:
            _log.exception("request failed", method=method, request_id=call.request_id)
            await _abort(
                context, call, grpc.StatusCode.INTERNAL, "an internal error; the server's log tells more", trailing
            )
        finally:
            self._calls.ended(call)


async def _abort(
    context: Any, call: Call, code: grpc.StatusCode, details: str, trailing: Sequence[tuple[str, str]]
) -> NoReturn:
    call.code = code.name
    await context.abort(code, details, tuple(trailing))
    raise AssertionError("abort raises")


def _request_id(context: Any) -> str:
    """What the client calls the request, if that can be an id; otherwise one of our own."""
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID and isinstance(value, str) and re.fullmatch(REQUEST_ID_PATTERN, value):
            return value
    return uuid.uuid4().hex
