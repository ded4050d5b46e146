"""Builds the server from its settings, starts it, and stops it without losing a running translation."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial

import structlog
from grpc_health.v1 import health, health_pb2_grpc

from service.accepting import accepting_server
from service.admission.gate import Gate
from service.calls import Calls
from service.ending import FAILED_LIMIT_S, exit_after, exit_at_once, exit_at_once_at
from service.health import HealthTeller
from service.inference.managing import ManagingServicer
from service.inference.servicer import InferenceServicer
from service.inference.streams import StreamRules
from service.interceptors import StatusInterceptor
from service.listening import listeners, until_closed
from service.load_test import LoadTestServicer
from service.management.admin import INFERENCE_NAME, AdminServer
from service.management.management import Management
from service.model.errors import ModelError
from service.observability.log import configure_log
from service.observability.log_sink import LogSink
from service.observability.telemetry import Telemetry
from service.pb import inference_pb2_grpc
from service.pb import translation_pb2 as pb
from service.pb import translation_pb2_grpc as pb_grpc
from service.pb.load_test_pb2_grpc import add_LoadTestServiceServicer_to_server
from service.refusing import Refuser
from service.registry import Registry
from service.security.security import Security
from service.security.tls import add_port
from service.servicer import TranslationServicer
from service.settings import Settings
from service.transport import server_options
from service.unread import UnreadAnswers
from service.validation import Limits
from service.web import WatchServer

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["TranslationService"].full_name
LAST_MESSAGES_S = 1.0
"""Seconds for what has been answered to reach its client when the server stops; health watchers end then."""
FAILED_GRACE_S = 1.0
"""Seconds that the translations of other models get when an engine has failed."""
LAST_THREADS_S = 10.0
"""Seconds, after the grace time, for engines and threads to end; whatever runs after them is cut off."""
LAST_LINES_S = 2.0
"""Seconds for the log to be written when the process ends."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_log = structlog.get_logger()


class Server:
    """One process's models behind gRPC. `start` and `stop` once each, on the same event loop."""

    def __init__(self, settings: Settings, *, log: LogSink | None = None, shares_port: bool = False) -> None:
        """log: where the process's lines go, if what it drops is to be counted. shares_port: whether other processes
        listen on the same gRPC port."""
        self._settings = settings
        self._shares_port = shares_port
        self._telemetry = Telemetry(settings, log=log)
        self._security = Security(settings)
        self._registry = Registry()
        self._calls = Calls([*self._telemetry.observers, self._registry])
        self._health = health.aio.HealthServicer()
        self._teller = HealthTeller(self._health, self._healthy_services)
        self._management = Management(
            settings,
            self._telemetry.metrics,
            self._registry,
            on_failure=lambda name: partial(self._engine_failed, name),
            on_change=self._teller.tell,
        )
        limits = Limits(max_texts=settings.max_texts, max_text_bytes=settings.max_text_bytes)
        access = self._security.access
        management, metrics = self._management.servicer(), self._telemetry.metrics
        admin_calls = Calls(self._telemetry.observers)
        self._unread = UnreadAnswers(lambda peer: self._calls.has(peer) or admin_calls.has(peer))
        self._admin = AdminServer(
            management,
            ManagingServicer(self._registry, metrics, management, is_ready=lambda: self.is_ready),
            self._health,
            StatusInterceptor(admin_calls, limits=limits, access=access, unread=self._unread),
            Refuser(admin_calls, access, max_call_s=settings.max_call_s),
        )
        gate = Gate(lambda: (model.admission for model in self._registry.all()))
        interceptor = StatusInterceptor(
            self._calls,
            limits=limits,
            access=access,
            unread=self._unread,
            max_call_s=settings.max_call_s,
            max_write_stall_s=settings.max_write_stall_s,
            max_attempts=settings.max_attempts,
        )
        self._grpc = accepting_server(
            interceptors=(*self._telemetry.interceptors, interceptor),
            options=server_options(
                max_message_bytes=settings.max_message_bytes,
                max_concurrent_streams=settings.max_concurrent_streams,
                max_connection_age_s=settings.max_connection_age_s,
                shares_port=shares_port,
            ),
            refuser=Refuser(self._calls, access, gate, settings.max_call_s),
        )
        servicer = TranslationServicer(self._registry, max_running=settings.max_slots)
        pb_grpc.add_TranslationServiceServicer_to_server(servicer, self._grpc)
        inference_servicer = InferenceServicer(
            self._registry,
            metrics,
            servicer,
            limits=limits,
            rules=StreamRules(self._calls, gate.check, settings.max_concurrent_streams, settings.max_call_s),
            is_ready=lambda: self.is_ready,
        )
        inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(inference_servicer, self._grpc)
        if settings.load_test_service:
            add_LoadTestServiceServicer_to_server(LoadTestServicer(), self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        self._ready = False
        self._following: list[asyncio.Task[None]] = []
        self._web: WatchServer | None = None
        self.failed = asyncio.Event()
        self.port = self.metrics_port = self.admin_port = 0

    async def start(self) -> None:
        """Load and prove what is to serve, then listen; raises ModelError, or OSError where a port cannot be had."""
        settings = self._settings
        if not self._shares_port:
            require_free_port(settings.host, settings.port)
        require_free_port(settings.metrics_host, settings.metrics_port)
        require_free_port(settings.admin_host, settings.admin_port)
        self._telemetry.start()
        self._web = self._telemetry.web(lambda: self.is_ready)
        self._web.start()
        self.metrics_port = self._web.port
        await self._management.start()
        self.port = add_port(self._grpc, format_address(settings.host, settings.port), self._security.tls)
        self._security.start()
        await self._grpc.start()
        self._ready = True
        following = (self._teller.follow(), self._watch_port(), self._unread.watch())
        self._following = [asyncio.create_task(each) for each in following]
        admin_address = format_address(settings.admin_host, settings.admin_port)
        self.admin_port = await self._admin.start(admin_address, self._security.tls)
        _log.info("model management", address=format_address(settings.admin_host, self.admin_port))

    @property
    def is_ready(self) -> bool:
        """Whether it serves any version, with every engine healthy. From any thread."""
        return self._ready and self._registry.serves_any and self._registry.is_healthy

    async def stop(self) -> None:
        """Tell health, after the drain delay refuse new requests, give running ones the grace time, then end whatever
        was started."""
        self._ready = False
        settings, has_failed = self._settings, self.failed.is_set()
        for task in self._following:
            task.cancel()
        if self.port:
            await self._health.enter_graceful_shutdown()
            await asyncio.sleep(0.0 if has_failed else settings.drain_delay_s)
            grace_s = min(settings.grace_s, FAILED_GRACE_S) if has_failed else settings.grace_s
            if num_left := await self._calls.stop(timeout_s=grace_s):
                _log.warning("translations were cut off", num_requests=num_left)
            await self._grpc.stop(LAST_MESSAGES_S)
            await self._admin.stop(LAST_MESSAGES_S)
        await self._management.stop()
        await asyncio.to_thread(self._security.stop)
        await self._telemetry.stop()
        if self._web is not None:
            await asyncio.to_thread(self._web.stop)

    def _healthy_services(self) -> dict[str, bool]:
        services = dict.fromkeys(("", SERVICE_NAME, INFERENCE_NAME), self.is_ready)
        for model in self._registry.all():
            name = model.manifest.name
            services[name] = services.get(name, self._ready) and model.engine.is_healthy
        return services

    def _engine_failed(self, name: str, error: BaseException) -> None:
        _log.error("engine failed", model=name, exc_info=error)
        self._fail()

    async def _watch_port(self) -> None:
        await until_closed(listeners(self.port))
        _log.error("the port takes no connections any more", port=self.port)
        self._fail()

    def _fail(self) -> None:
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
    on_ready: Callable[[Server], None] | None = None,
    parent: int | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT; the exit status. Raises ModelError where the models cannot be served.

    shares_port: as of `Server`. on_ready is called once all is served; without it a line is printed. parent: a file
    descriptor whose end means that the server must stop too.
    """
    log = configure_log()
    gc.collect()
    gc.freeze()  # modules stay: no later collection, which would hold up every token, looks through them

    def insist(has_failed: bool) -> None:
        exit_at_once_at(STOP_SIGNALS)
        exit_after(FAILED_LIMIT_S if has_failed else settings.drain_delay_s + settings.grace_s + LAST_THREADS_S)

    try:
        status = asyncio.run(
            _serve(settings, log=log, shares_port=shares_port, on_ready=on_ready, parent=parent, on_stopping=insist)
        )
    finally:
        log.close(timeout_s=LAST_LINES_S)
    if status:
        exit_at_once(status)
    return status


def announce(host: str, port: int, *, metrics_host: str, metrics_port: int) -> None:
    """Print the line that says that all is served."""
    metrics, serving = format_address(metrics_host, metrics_port), format_address(host, port)
    sys.stdout.write(f"stepstream: metrics on {metrics}, serving on {serving}\n")
    sys.stdout.flush()


async def _serve(
    settings: Settings,
    *,
    log: LogSink | None = None,
    shares_port: bool = False,
    on_ready: Callable[[Server], None] | None = None,
    parent: int | None = None,
    on_stopping: Callable[[bool], object] = bool,
) -> int:
    """on_stopping is called before the server is stopped, with whether an engine has failed."""
    server = Server(settings, log=log, shares_port=shares_port)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    if parent is not None:
        loop.add_reader(parent, stop.set)
    starting = asyncio.create_task(server.start())
    ending = [asyncio.create_task(stop.wait()), asyncio.create_task(server.failed.wait())]
    try:
        await asyncio.wait({starting, *ending}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            if on_ready is not None:
                on_ready(server)
            else:
                announce(
                    settings.host,
                    server.port,
                    metrics_host=settings.metrics_host,
                    metrics_port=server.metrics_port,
                )
            await asyncio.wait(ending, return_when=asyncio.FIRST_COMPLETED)
    except OSError as error:
        raise ModelError(str(error)) from error
    finally:
        starting.cancel()
        on_stopping(server.failed.is_set())
        await server.stop()
    return 1 if server.failed.is_set() else 0
