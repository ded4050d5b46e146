"""Takes new calls from gRPC as fast as they come.

grpc.aio asks for one call of each method at a time, and comes to the next after several turns of the event loop. While
the loop is busy with streams, calls then wait where nobody sees them: none is refused, whatever admission would say,
and all become late. Here many calls of a method are asked for at once, and what a full server refuses is refused before
any handler or interceptor meets it. That needs what grpc.aio keeps to itself: its server's object and the functions
that serve one call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

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
        super().__init__(None, (), tuple(interceptors), tuple(options), None, None)
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
        await super().start()
        self._loop = asyncio.get_running_loop()
        self._resolver = cygrpc._MethodResolver(self._generic, self._handlers)
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
                state = await self._server._request_registered_call(method)
            except cygrpc._RequestCallError:
                continue
            task = self._loop.create_task(self._take(path, state))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _served(self, path: str, state: Any) -> Coroutine[Any, Any, None]:
        """As grpc.aio serves a call of which it has read nothing."""
        serving = cygrpc._handle_rpc(path, self._resolver, self._interceptors, state, self._loop, False)
        return cast("Coroutine[Any, Any, None]", cygrpc._schedule_rpc_coro(serving, state, self._loop, path))

    async def _take(self, path: str, state: Any) -> None:
        """An only message is read where nobody interrupts: grpc.aio never frees what it asked for one with, if a client
        that resets its call ends the reading."""
        handler, message = self._handlers[path], None
        if not handler.request_streaming:
            message = await cygrpc._receive_message(state, self._loop)
            if message is None:  # the client has gone
                return
        if (refusal := self._refusal(path, handler, message, state)) is not None:
            await self._refuse(state, refusal)
        elif message is None:
            await self._served(path, state)
        else:
            serving = self._serve_message(path, message, state)
            await cygrpc._schedule_rpc_coro(serving, state, self._loop, path)

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

    async def _refuse(self, state: Any, refusal: Refusal) -> None:
        code, headers = refusal.code.value[0], cygrpc.SendInitialMetadataOperation(None, 0)
        with suppress(cygrpc.ExecuteBatchError):  # the client has gone
            await cygrpc._send_error_status_from_server(
                state, code, refusal.details, tuple(refusal.trailing), headers, self._loop
            )

    async def _serve_message(self, path: str, message: bytes, state: Any) -> None:
        """As grpc.aio serves a call whose only message it has read."""
        metadata = cygrpc._ServicerContext(state, None, None, self._loop).invocation_metadata()
        handler = await cygrpc._find_method_handler(path, metadata, self._resolver, self._interceptors)
        deserialize, serialize = handler.request_deserializer, handler.response_serializer
        request = message if deserialize is None else deserialize(message)
        context = cygrpc._ServicerContext(state, deserialize, serialize, self._loop)
        if handler.response_streaming:
            await cygrpc._finish_handler_with_stream_responses(
                state, handler.unary_stream, request, context, self._loop
            )
        else:
            await cygrpc._finish_handler_with_unary_response(
                state, handler.unary_unary, request, context, serialize, self._loop
            )
