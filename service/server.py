"""Builds the server from its settings, starts it, and stops it without losing a running translation."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from functools import partial

import grpc.aio
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from service.calls import Calls
from service.interceptors import StatusInterceptor
from service.loading import load_model
from service.metrics import Metrics
from service.model.errors import BundleError, ModelError
from service.model.store import list_versions
from service.pb import translation_pb2 as pb
from service.pb import translation_pb2_grpc as pb_grpc
from service.registry import Registry
from service.security.security import Security
from service.security.tls import add_port
from service.servicer import TranslationServicer
from service.settings import Settings
from service.transport import server_options
from service.validation import Limits
from service.web import WatchServer

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["TranslationService"].full_name
LAST_MESSAGES_S = 1.0
"""Seconds for what has been answered to reach its client when the server stops; health watchers end then."""

_log = structlog.get_logger()


class Server:
    """One process's models behind gRPC. `start` and `stop` once each, on the same event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._registry = Registry()
        self._health = health.aio.HealthServicer()
        self._calls = Calls([self._metrics])
        self._ready = False
        self._web: WatchServer | None = None
        self.failed = asyncio.Event()
        self.port = 0
        self._security = Security(settings)
        limits = Limits(max_texts=settings.max_texts, max_text_bytes=settings.max_text_bytes)
        interceptor = StatusInterceptor(self._calls, limits=limits, access=self._security.access)
        options = server_options(
            max_message_bytes=settings.max_message_bytes, max_concurrent_streams=settings.max_concurrent_streams
        )
        self._grpc = grpc.aio.server(interceptors=(interceptor,), options=options)
        servicer = TranslationServicer(self._registry, max_running=settings.max_slots)
        pb_grpc.add_TranslationServiceServicer_to_server(servicer, self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)

    async def start(self) -> None:
        """Load and prove every version, then listen; raises ModelError, or OSError where a port cannot be had."""
        settings = self._settings
        for port in (settings.port, settings.metrics_port):
            _require_free_port(settings.host, port)
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
        self.port = add_port(self._grpc, address, self._security.tls)
        self._security.start()
        await self._grpc.start()
        for name in ("", SERVICE_NAME, *{model.manifest.name for model in self._registry.all()}):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._ready = True

    async def stop(self) -> None:
        """Tell health, refuse new requests, give running ones the grace time, then end whatever was started."""
        self._ready = False
        if self.port:
            await self._health.enter_graceful_shutdown()
            if num_left := await self._calls.stop(timeout_s=self._settings.grace_s):
                _log.warning("translations were cut off", num_requests=num_left)
            await self._grpc.stop(LAST_MESSAGES_S)
        for model in self._registry.all():
            if not await model.engine.stop():
                _log.error("a decoder step does not end", model=model.manifest.name)
        await asyncio.to_thread(self._security.stop)
        if self._web is not None:
            await asyncio.to_thread(self._web.stop)

    def _engine_failed(self, name: str, error: BaseException) -> None:
        _log.error("engine failed", model=name, exc_info=error)
        self._ready = False
        self.failed.set()


def format_address(host: str, port: int) -> str:
    """HOST:PORT, or [HOST]:PORT for IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _require_free_port(host: str, port: int) -> None:
    """Raises OSError before any model is loaded, and with one clear line where gRPC would write its own."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise OSError(f"cannot listen on {format_address(host, port)}: {error.strerror}") from error


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; the exit status. Raises ModelError where the models cannot be served."""
    _configure_log()
    return asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    server = Server(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    starting = asyncio.create_task(server.start())
    ending = [asyncio.create_task(stop.wait()), asyncio.create_task(server.failed.wait())]
    try:
        await asyncio.wait({starting, *ending}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            sys.stdout.write(f"stepstream: serving on {format_address(settings.host, server.port)}\n")
            sys.stdout.flush()
            await asyncio.wait(ending, return_when=asyncio.FIRST_COMPLETED)
    except OSError as error:
        raise ModelError(str(error)) from error
    finally:
        starting.cancel()
        await server.stop()
    return 1 if server.failed.is_set() else 0


def _configure_log() -> None:
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
