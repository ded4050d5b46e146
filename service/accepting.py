"""Takes new calls from gRPC as fast as they come.

grpc.aio asks for one call of each method at a time, and comes to the next after several turns of the event loop. While
the loop is busy with streams, calls then wait where nobody sees them: none is refused, whatever admission would say,
and all become late. Here many calls of a method are asked for at once. That needs what grpc.aio keeps to itself: its
server's object and the functions that serve one call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import grpc
import grpc.aio
from grpc._cython import cygrpc
from grpc.aio import _server

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]

NUM_ASKED_FOR = 16
"""Calls of one method that are asked for at once, beside the one that grpc.aio asks for."""


def accepting_server(
    *, interceptors: Sequence[grpc.aio.ServerInterceptor], options: Sequence[tuple[str, int]]
) -> grpc.aio.Server:
    """A server of grpc.aio that takes calls many at a time."""
    return cast("grpc.aio.Server", _AcceptingServer(interceptors, options))


class _AcceptingServer(_server.Server):
    """`start` and `stop` once each."""

    def __init__(self, interceptors: Sequence[grpc.aio.ServerInterceptor], options: Sequence[tuple[str, int]]) -> None:
        super().__init__(None, (), tuple(interceptors), tuple(options), None, None)
        self._interceptors = tuple(interceptors)
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
        resolver = cygrpc._MethodResolver(self._generic, self._handlers)
        for path in self._handlers:
            for _ in range(NUM_ASKED_FOR):
                self._accepting.append(asyncio.create_task(self._accept(path, resolver)))

    async def stop(self, grace: float | None) -> None:
        await super().stop(grace)
        await asyncio.gather(*self._accepting, return_exceptions=True)

    async def _accept(self, path: str, resolver: Any) -> None:
        loop, server = asyncio.get_running_loop(), self._server
        while server.is_running():
            try:
                state = await server._request_registered_call(path.encode())
            except cygrpc._RequestCallError:
                continue
            serving = cygrpc._handle_rpc(path, resolver, self._interceptors, state, loop, False)
            task = loop.create_task(cygrpc._schedule_rpc_coro(serving, state, loop, path))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
