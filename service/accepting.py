"""Takes new calls from gRPC as fast as they come.

grpc.aio asks for one call of each method at a time, and comes to the next after several turns of the event loop. While
the loop is busy with streams, calls then wait where nobody sees them: none is refused, whatever admission would say,
and all become late. Here many calls of a method are asked for at once, and what a full server refuses is refused before
any handler or interceptor meets it. grpc.aio also never answers a call whose client ends it without its only message.
That needs what grpc.aio keeps to itself: its server's object and the functions that serve one call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import grpc
import grpc.aio
import structlog
from grpc._cython import cygrpc
from grpc.aio import _server

from service.refusing import Refusal, Refuser

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]

NUM_ASKED_FOR = 16
"""Calls of one method that are asked for at once, beside the one that grpc.aio asks for."""

GONE_S = 0.02
"""After a call has ended without its message, until it is known whether its client has reset it."""

_Serve: TypeAlias = Callable[[], Coroutine[Any, Any, None]]

_log = structlog.get_logger()


def accepting_server(
    *,
    interceptors: Sequence[grpc.aio.ServerInterceptor],
    options: Sequence[tuple[str, int]],
    refuser: Refuser | None = None,
) -> grpc.aio.Server:
    """A server of grpc.aio that takes calls many at a time. refuser: looks at calls before all else."""
    return cast("grpc.aio.Server", _AcceptingServer(interceptors, options, refuser))


class _AcceptingServer(_server.Server):
    """`start` and `stop` once each."""

    def __init__(
        self,
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        options: Sequence[tuple[str, int]],
        refuser: Refuser | None,
    ) -> None:
        super().__init__(None, (), (_Ours(self), *interceptors), tuple(options), None, None)
        self._interceptors = tuple(interceptors)
        self._refuser = refuser
        self._generic: list[grpc.GenericRpcHandler] = []
        self._handlers: dict[str, Handler] = {}
        self._accepting: list[asyncio.Task[None]] = []
        self._running: set[asyncio.Task[None]] = set()

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self._generic += generic_rpc_handlers
        super().add_generic_rpc_handlers(generic_rpc_handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: dict[str, Handler]) -> None:
        self._handlers |= {f"/{service_name}/{method}": handler for method, handler in method_handlers.items()}
        super().add_registered_method_handlers(service_name, method_handlers)

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._resolver = cygrpc._MethodResolver(self._generic, self._handlers)
        await super().start()
        for path in self._handlers:
            for _ in range(NUM_ASKED_FOR):
                self._accepting.append(asyncio.create_task(self._accept(path)))

    async def stop(self, grace: float | None) -> None:
        await super().stop(grace)
        await asyncio.gather(*self._accepting, return_exceptions=True)

    async def _accept(self, path: str) -> None:
        method = path.encode()
        while self._server.is_running():
            try:
                self._start(self._take(path, await self._server._request_registered_call(method)))
            except cygrpc._RequestCallError:
                continue

    def _start(self, serving: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(serving)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _take(self, path: str, state: Any) -> None:
        if (serve := await self.begun(path, state)) is not None:
            await cygrpc._schedule_rpc_coro(serve(), state, self._loop, path)

    async def begun(self, path: str, state: Any) -> _Serve | None:
        """What serves a call whose only message is read; None where it has its answer. Better not interrupted: grpc.aio
        never frees what it asked for a message with, if a client that resets its call ends the reading."""
        if (handler := self._handlers.get(path)) is None:
            return partial(self._as_ever, path, state)
        message = None
        if not handler.request_streaming:
            try:
                message = await self._only_message(path, state)
            except TimeoutError:
                return None
            if message is None:
                return partial(self._refuse_empty, path, state)
        if (refusal := self._refusal(path, handler, message, state)) is not None:
            await self._refuse(state, refusal)
            return None
        if message is None:
            return partial(self._as_ever, path, state)
        return partial(self._serve_message, path, message, state)

    async def _only_message(self, path: str, state: Any) -> bytes | None:
        """None of a call that has ended without one; raises TimeoutError once a call that did not bring it in time was
        told so."""
        is_late = False

        def end() -> None:
            nonlocal is_late
            is_late = True
            self._start(self._refuse_unread(path, state, is_late=True))

        max_call_s = None if self._refuser is None else self._refuser.max_call_s
        timer = None if max_call_s is None else self._loop.call_later(max_call_s, end)
        try:
            message = await cygrpc._receive_message(state, self._loop)
        finally:
            if timer is not None:
                timer.cancel()
        if is_late:
            raise TimeoutError
        return cast("bytes | None", message)

    async def _refuse_empty(self, path: str, state: Any) -> None:
        """Ended meanwhile by grpc.aio where the client has gone: gRPC never frees what it should send to nobody."""
        await asyncio.sleep(GONE_S)
        await self._refuse_unread(path, state, is_late=False)

    async def _refuse_unread(self, path: str, state: Any, *, is_late: bool) -> None:
        """It asks for nobody's address: of a call that has ended, gRPC reads it where none is any more."""
        if self._refuser is not None:
            metadata = cygrpc._ServicerContext(state, None, None, self._loop).invocation_metadata() or ()
            refusal = self._refuser.unread(path, metadata, is_late=is_late)
            if await self._refuse(state, refusal):
                self._refuser.counted(refusal)

    async def _as_ever(self, path: str, state: Any) -> None:
        """As grpc.aio serves a call of which it has read nothing."""
        with suppress(cygrpc.ExecuteBatchError):  # the client has gone
            await _handle_rpc(path, self._resolver, self._interceptors, state, self._loop, False)

    def _refusal(self, path: str, handler: Handler, message: bytes | None, state: Any) -> Refusal | None:
        """Without an answer a call would stay open: what fails here is logged, and the call goes the usual way."""
        if self._refuser is None or not self._refuser.may_refuse(path):
            return None
        context, deserialize = cygrpc._ServicerContext(state, None, None, self._loop), handler.request_deserializer
        assert deserialize is not None
        try:
            metadata = context.invocation_metadata() or ()
            return self._refuser.refusal(path, metadata, context.peer(), message, deserialize)
        except Exception as error:
            _log.error("refusal failed", method=path, error=type(error).__name__)
            return None

    async def _refuse(self, state: Any, refusal: Refusal) -> bool:
        """Whether the client was still there."""
        code, headers = refusal.code.value[0], cygrpc.SendInitialMetadataOperation(None, 0)
        try:
            await cygrpc._send_error_status_from_server(
                state, code, refusal.details, tuple(refusal.trailing), headers, self._loop
            )
        except cygrpc.ExecuteBatchError:
            return False
        return True

    async def _serve_message(self, path: str, message: bytes, state: Any) -> None:
        """As grpc.aio serves a call whose only message it has read."""
        metadata = cygrpc._ServicerContext(state, None, None, self._loop).invocation_metadata()
        handler = await cygrpc._find_method_handler(path, metadata, self._resolver, self._interceptors)
        deserialize, serialize = handler.request_deserializer, handler.response_serializer
        request = message if deserialize is None else deserialize(message)
        context = cygrpc._ServicerContext(state, deserialize, serialize, self._loop)
        with suppress(cygrpc.ExecuteBatchError):  # the client has gone
            if handler.response_streaming:
                await cygrpc._finish_handler_with_stream_responses(
                    state, handler.unary_stream, request, context, self._loop
                )
            else:
                await cygrpc._finish_handler_with_unary_response(
                    state, handler.unary_unary, request, context, serialize, self._loop
                )


class _Ours(grpc.aio.ServerInterceptor):
    """Tells the calls that grpc.aio asked for by itself whose server they are of."""

    def __init__(self, server: _AcceptingServer) -> None:
        self.server = server

    async def intercept_service(self, continuation: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return await continuation(handler_call_details)


_handle_rpc = cygrpc._handle_rpc


async def _handle(path: str, resolver: Any, interceptors: Any, state: Any, loop: Any, exceeded: bool) -> None:
    """Every call that grpc.aio asked for by itself."""
    if not interceptors or not isinstance(ours := interceptors[0], _Ours):
        await _handle_rpc(path, resolver, interceptors, state, loop, exceeded)
    elif (serve := await ours.server.begun(path, state)) is not None:
        await serve()


cygrpc._handle_rpc = _handle
