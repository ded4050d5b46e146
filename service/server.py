"""Builds the server from its settings, starts it, and stops it without losing a running translation."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial

import grpc.aio
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from service.calls import Calls
from service.interceptors import StatusInterceptor
from service.loading import load_model
from service.metrics import Metrics
from service.model.errors import BundleError, ModelError
from service.model.store import list_versions
from service.pb import translation_pb2 as pb
from service.pb import translation_pb2_grpc as pb_grpc
from service.registry import Registry
from service.servicer import TranslationServicer
from service.settings import Settings
from service.web import WatchServer

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["TranslationService"].full_name
LAST_MESSAGES_S = 1.0
"""Seconds for what has been answered to reach its client when the server stops; health watchers end then."""
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", 64 * 2**20),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)

_log = structlog.get_logger()


class Server:
    """One process's models behind gRPC. `start` and `stop` once each, on the same event loop."""

    def __init__(self, settings: Settings, *, shares_port: bool = False) -> None:
        """shares_port: whether other processes listen on the same gRPC port."""
        self._settings = settings
        self._shares_port = shares_port
        self._metrics = Metrics()
        self._registry = Registry()
        self._health = health.aio.HealthServicer()
        self._calls = Calls([self._metrics])
        self._ready = False
        self._web: WatchServer | None = None
        self.failed = asyncio.Event()
        self.port = 0
        interceptor = StatusInterceptor(self._calls, max_attempts=settings.max_attempts)
        options = (*CHANNEL_OPTIONS, ("grpc.so_reuseport", int(shares_port)))
        self._grpc = grpc.aio.server(interceptors=(interceptor,), options=options)
        servicer = TranslationServicer(self._registry, max_texts=settings.max_texts, max_running=settings.max_slots)
        pb_grpc.add_TranslationServiceServicer_to_server(servicer, self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        reflection.enable_server_reflection((SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME), self._grpc)

    async def start(self) -> None:
        """Load and prove every version, then listen; raises ModelError, or OSError where a port cannot be had."""
        settings = self._settings
        if not self._shares_port:
            for port in (settings.port, settings.metrics_port):
                require_free_port(settings.host, port)
        self._web = WatchServer(settings.host, settings.metrics_port, self._metrics.registry, lambda: self._ready)
        self._web.start()
        versions = list_versions(settings.model_store)
        if not versions:
            raise BundleError(f"the model store {settings.model_store} has no model")
        for version in versions:
            on_failure = partial(self._engine_failed, version.name)
            model = await asyncio.to_thread(load_model, version, settings, self._metrics, on_failure=on_failure)
            model.engine.start()
            self._registry.add(model)
        address = format_address(settings.host, settings.port)
        try:
            self.port = self._grpc.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}") from error
        await self._grpc.start()
        for name in ("", SERVICE_NAME, *{model.manifest.name for model in self._registry.all()}):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._ready = True

    async def stop(self) -> None:
        """Tell health, after the drain delay refuse new requests, give running ones the grace time, then end whatever
        was started."""
        self._ready = False
        if self.port:
            await self._health.enter_graceful_shutdown()
            if not self.failed.is_set():
                await asyncio.sleep(self._settings.drain_delay_s)
            if num_left := await self._calls.stop(timeout_s=self._settings.grace_s):
                _log.warning("translations were cut off", num_requests=num_left)
            await self._grpc.stop(LAST_MESSAGES_S)
        for model in self._registry.all():
            if not await model.engine.stop():
                _log.error("a decoder step does not end", model=model.manifest.name)
        if self._web is not None:
            await asyncio.to_thread(self._web.stop)

    @property
    def metrics_port(self) -> int:
        """The side port that it listens on."""
        assert self._web is not None
        return self._web.port

    def _engine_failed(self, name: str, error: BaseException) -> None:
        _log.error("engine failed", model=name, exc_info=error)
        self._ready = False
        self.failed.set()


def format_address(host: str, port: int) -> str:
    """HOST:PORT, or [HOST]:PORT for IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def require_free_port(host: str, port: int) -> None:
    """Raises OSError before any model is loaded, and with one clear line where gRPC would write its own."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise OSError(f"cannot listen on {format_address(host, port)}: {error.strerror}") from error


def run(
    settings: Settings,
    *,
    shares_port: bool = False,
    on_ready: Callable[[int], None] | None = None,
    parent: int | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT; the exit status. Raises ModelError where the models cannot be served.

    shares_port: as of `Server`. on_ready is called with the side port once all is served; without it a line is printed.
    parent: a file descriptor whose end means that the server must stop too.
    """
    configure_log()
    return asyncio.run(_serve(settings, shares_port=shares_port, on_ready=on_ready, parent=parent))


def announce(host: str, port: int) -> None:
    """Print the line that says that all is served."""
    sys.stdout.write(f"stepstream: serving on {format_address(host, port)}\n")
    sys.stdout.flush()


async def _serve(
    settings: Settings,
    *,
    shares_port: bool = False,
    on_ready: Callable[[int], None] | None = None,
    parent: int | None = None,
) -> int:
    server = Server(settings, shares_port=shares_port)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if parent is not None:
        loop.add_reader(parent, stop.set)
    starting = asyncio.create_task(server.start())
    ending = [asyncio.create_task(stop.wait()), asyncio.create_task(server.failed.wait())]
    try:
        await asyncio.wait({starting, *ending}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            if on_ready is None:
                announce(settings.host, server.port)
            else:
                on_ready(server.metrics_port)
            await asyncio.wait(ending, return_when=asyncio.FIRST_COMPLETED)
    except OSError as error:
        raise ModelError(str(error)) from error
    finally:
        starting.cancel()
        await server.stop()
    return 1 if server.failed.is_set() else 0


def configure_log() -> None:
    """One JSON line an event, on stderr."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
