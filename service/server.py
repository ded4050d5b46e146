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
from grpc_reflection.v1alpha import reflection

from service.engine.engine import Engine
from service.engine.runner import Runner
from service.engine.scheduler import Limits
from service.interceptors import StatusInterceptor
from service.metrics import Metrics
from service.model.certificate import read_certificate, replay
from service.model.errors import BundleError, ModelError
from service.model.onnx_model import OnnxModel
from service.model.slots import Slots
from service.model.store import StoredVersion, list_versions
from service.model.vocabulary import Vocabulary
from service.pb import translation_pb2 as pb
from service.pb import translation_pb2_grpc as pb_grpc
from service.registry import LoadedModel, Registry
from service.servicer import TranslationServicer
from service.settings import Settings, parse_providers
from service.translator import Translator
from service.web import WatchServer

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["TranslationService"].full_name
CHANNEL_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 64 * 2**20),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)

_log = structlog.get_logger()
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Server:
    """One process's models behind gRPC. `start` and `stop` once each, on the same event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._registry = Registry()
        self._health = health.aio.HealthServicer()
        self._ready = False
        self.failed = asyncio.Event()
        self._grpc = grpc.aio.server(interceptors=(StatusInterceptor(self._metrics),), options=CHANNEL_OPTIONS)
        servicer = TranslationServicer(self._registry, max_texts=settings.max_texts, max_running=settings.max_slots)
        pb_grpc.add_TranslationServiceServicer_to_server(servicer, self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        reflection.enable_server_reflection((SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME), self._grpc)
        self.port = 0
        self._web: WatchServer | None = None

    @property
    def metrics_port(self) -> int:
        """TCP port of /metrics, /live and /ready, once started."""
        assert self._web is not None
        return self._web.port

    async def start(self) -> None:
        """Load and prove every version, then listen; raises ModelError, or OSError where a port cannot be had."""
        settings = self._settings
        for port in (settings.port, settings.metrics_port):
            _require_free_port(settings.host, port)
        versions = list_versions(settings.model_store)
        if not versions:
            raise BundleError(f"the model store {settings.model_store} has no model")
        for version in versions:
            model = await asyncio.to_thread(self._load, version)
            model.engine.start()
            self._registry.add(model)
        self._web = WatchServer(settings.host, settings.metrics_port, self._metrics.registry, lambda: self._ready)
        try:
            self.port = self._grpc.add_insecure_port(f"{settings.host}:{settings.port}")
        except RuntimeError as error:
            raise OSError(f"cannot listen on {settings.host}:{settings.port}") from error
        await self._grpc.start()
        self._web.start()
        for name in ("", SERVICE_NAME, *{model.manifest.name for model in self._registry.all()}):
            await self._health.set(name, _SERVING)
        self._ready = True

    async def stop(self) -> None:
        """Refuse new requests, give running ones the grace time, then end."""
        self._ready = False
        await self._health.enter_graceful_shutdown()
        await self._grpc.stop(self._settings.grace_s)
        for model in self._registry.all():
            await model.engine.stop()
        if self._web is not None:
            await asyncio.to_thread(self._web.stop)

    def _load(self, version: StoredVersion) -> LoadedModel:
        settings = self._settings
        onnx_model = OnnxModel(
            version.folder,
            providers=parse_providers(settings.execution_providers),
            num_threads=settings.num_threads,
        )
        manifest = onnx_model.manifest
        if (manifest.name, manifest.version) != (version.name, version.version):
            raise BundleError(f"{version.folder} holds {manifest.name} version {manifest.version}")
        certificate = read_certificate(version.folder / manifest.certificate)
        if settings.verify_certificates:
            replay(onnx_model, certificate)
        engine = Engine(
            Runner(Slots(onnx_model, settings.max_slots), end_id=manifest.vocabulary.end_id),
            Limits(
                max_slots=settings.max_slots,
                max_queue_length=settings.max_queue_length,
                max_encode_tokens=settings.max_encode_tokens,
                length_multiple=manifest.length_multiple,
            ),
            self._metrics.model(manifest.name, manifest.version),
            on_failure=partial(self._engine_failed, manifest.name),
        )
        files = manifest.vocabulary
        translator = Translator(
            manifest,
            Vocabulary(version.folder / files.source, files.source_size),
            Vocabulary(version.folder / files.target, files.target_size),
            engine,
            max_text_length=settings.max_text_length,
        )
        _log.info("model loaded", model=manifest.name, version=manifest.version, precision=manifest.precision)
        return LoadedModel(
            manifest,
            (version.folder / manifest.certificate).read_text(encoding="utf-8"),
            onnx_model.execution_provider,
            engine,
            translator,
        )

    def _engine_failed(self, name: str, error: BaseException) -> None:
        _log.error("engine failed", model=name, error=repr(error))
        self._ready = False
        self._stopping_health = [
            asyncio.ensure_future(self._health.set(service, _NOT_SERVING)) for service in ("", SERVICE_NAME, name)
        ]
        self.failed.set()


def _require_free_port(host: str, port: int) -> None:
    """Raises OSError before any model is loaded, and with one clear line where gRPC would write its own."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from error


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
    try:
        await server.start()
    except OSError as error:
        raise ModelError(str(error)) from error
    sys.stdout.write(f"stepstream: serving on {settings.host}:{server.port}\n")
    sys.stdout.flush()
    await asyncio.wait(
        [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(server.failed.wait())],
        return_when=asyncio.FIRST_COMPLETED,
    )
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
