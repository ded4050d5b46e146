"""A request's way from bytes to tokens inside this process: decoded, validated, cut into tokens, handed to the engine.

All of it is the server's own: interceptors, servicer, translator, vocabularies. Only gRPC's port is left out, and the
engine, which refuses what reaches it as a full queue does.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

import grpc
import grpc.aio

from hostile.methods import METHODS, Method
from hostile.verdicts import Status, refusal_in
from service.engine.editing import EditableTranslation
from service.engine.pool import EnginePool
from service.engine.request import StepResult
from service.errors import QueueFullError
from service.server import Server
from service.settings import Settings

REACHED = "the engine was reached"
TURNS_FOR_EDITS = 20
"""Turns of the event loop until a translation to edit is refused, for its edits to arrive."""


class InProcess:
    """Answers calls on an event loop of its own; not for two threads."""

    def __init__(self, store: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(_InlineExecutor())
        port = _Port()
        settings = Settings(port=0, metrics_port=0, model_store=store, verify_certificates=False)
        with (
            patch("service.server.accepting_server", port.open),
            patch("service.management.admin.accepting_server", _Port().open),
        ):
            self._server = Server(settings)
        self._loop.run_until_complete(self._server.start())
        self._handlers = self._loop.run_until_complete(port.handlers())
        EnginePool.translate = _refused  # type: ignore[method-assign]
        EnginePool.translate_editable = _refused_editable  # type: ignore[method-assign]

    def call(self, method: Method, requests: Sequence[bytes]) -> list[Status]:
        """How the requests of a stream that failed by themselves ended, then the call. Raises whatever the server does
        not turn into a status."""
        return self._loop.run_until_complete(_answer(self._handlers[method.path], method, requests))


class _InlineExecutor(ThreadPoolExecutor):
    """Runs everything where it is asked to, at once, so that a run can be repeated."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@dataclass(frozen=True)
class _CallDetails:
    method: str
    invocation_metadata: tuple[tuple[str, str], ...] = ()


class _Port:
    """Takes the methods of a server, as a server of gRPC does, and listens nowhere."""

    def __init__(self) -> None:
        self._interceptors: tuple[Any, ...] = ()
        self._methods: dict[str, Any] = {}

    def open(self, *, interceptors: Sequence[Any] = (), **_: object) -> _Port:
        self._interceptors = tuple(interceptors)
        return self

    def add_generic_rpc_handlers(self, handlers: object) -> None: ...

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        self._methods |= {f"/{service}/{name}": handler for name, handler in handlers.items()}

    def add_insecure_port(self, address: str) -> int:
        return 1

    async def start(self) -> None: ...

    async def handlers(self) -> dict[str, Any]:
        """Every method behind the interceptors, by its path."""
        return {method.path: await self._behind(self._interceptors, _CallDetails(method.path)) for method in METHODS}

    async def _behind(self, interceptors: Sequence[Any], details: _CallDetails) -> Any:
        if not interceptors:
            return self._methods[details.method]

        async def continuation(details: _CallDetails) -> Any:
            return await self._behind(interceptors[1:], details)

        return await interceptors[0].intercept_service(continuation, details)


class _Context:
    """What a handler may ask of its call."""

    def __init__(self) -> None:
        self.status = Status(grpc.StatusCode.OK, "")
        self.refusals: list[Status] = []

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    def auth_context(self) -> dict[str, Any]:
        return {}

    def time_remaining(self) -> float | None:
        return None

    def set_trailing_metadata(self, metadata: object) -> None: ...

    async def send_initial_metadata(self, metadata: object) -> None: ...

    async def write(self, message: object) -> None:
        if (refusal := refusal_in(message)) is not None:
            self.refusals.append(refusal)

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: object = ()) -> NoReturn:
        self.status = Status(code, details)
        raise grpc.aio.AbortError


async def _answer(handler: Any, method: Method, requests: Sequence[bytes]) -> list[Status]:
    decode = handler.request_deserializer or (lambda data: data)
    context = _Context()
    try:
        if method.requests_stream:
            outcome = _behavior(handler, method)(_decoded(requests, decode), context)
        else:
            outcome = _behavior(handler, method)(decode(requests[0]), context)
        if inspect.isasyncgen(outcome):
            async for _ in outcome:
                pass
        else:
            await outcome
    except grpc.aio.AbortError:
        pass
    return [*context.refusals, context.status]


def _behavior(handler: Any, method: Method) -> Any:
    sides = ("stream" if streams else "unary" for streams in (method.requests_stream, method.responses_stream))
    return getattr(handler, "_".join(sides))


async def _decoded(requests: Sequence[bytes], decode: Callable[[bytes], Any]) -> AsyncIterator[Any]:
    for request in requests:
        yield decode(request)


async def _refused(*_: object, **__: object) -> AsyncGenerator[StepResult, None]:
    raise QueueFullError(REACHED)
    yield  # it makes this a generator


def _refused_editable(*_: object, **__: object) -> EditableTranslation:
    async def results() -> AsyncGenerator[StepResult, None]:
        for _ in range(TURNS_FOR_EDITS):
            await asyncio.sleep(0)
        raise QueueFullError(REACHED)
        yield

    return EditableTranslation(results(), lambda _: None)
