"""Serves one version without asking for its certificate: random weights have none. Prints its
address and that of its metrics when ready."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from grpc_health.v1 import health, health_pb2
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from prometheus_client import start_http_server

from benchmarks.until_stopped import serve_until_stopped
from service.accepting import accepting_server
from service.admission.gate import Gate
from service.calls import Calls
from service.interceptors import StatusInterceptor
from service.loading import assemble
from service.metrics import Metrics
from service.model.onnx_model import OnnxModel
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import add_TranslationServiceServicer_to_server
from service.refusing import Refuser
from service.registry import Registry
from service.security.access import Access
from service.servicer import TranslationServicer
from service.settings import Settings, parse_providers
from service.transport import server_options
from service.unread import UnreadAnswers
from service.validation import Limits

SERVICE = pb.DESCRIPTOR.services_by_name["TranslationService"].full_name
"""Clients of several replicas call only those whose health says that they serve it."""


async def serve(folder: Path) -> None:
    """Until SIGTERM."""
    settings, metrics, registry = Settings(), Metrics(), Registry()
    providers = parse_providers(settings.execution_providers)
    onnx_model = OnnxModel(folder, providers=providers, num_threads=settings.num_threads)
    model = assemble(onnx_model, "{}", settings, metrics, on_failure=lambda error: sys.exit(str(error)))
    model.engine.start()
    registry.add(model)
    limits = Limits(max_texts=settings.max_texts, max_text_bytes=settings.max_text_bytes)
    calls, access = Calls([metrics, registry]), Access()
    interceptor = StatusInterceptor(
        calls,
        limits=limits,
        access=access,
        unread=UnreadAnswers(calls.has),
        max_call_s=settings.max_call_s,
        max_write_stall_s=settings.max_write_stall_s,
    )
    options = server_options(
        max_message_bytes=settings.max_message_bytes, max_concurrent_streams=settings.max_concurrent_streams
    )
    refuser = Refuser(calls, access, Gate(lambda: [model.admission]))
    server = accepting_server(interceptors=(interceptor,), options=options, refuser=refuser)
    servicer = TranslationServicer(registry, max_running=settings.max_slots)
    add_TranslationServiceServicer_to_server(servicer, server)
    health_servicer = health.aio.HealthServicer()
    await health_servicer.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    add_HealthServicer_to_server(health_servicer, server)
    web, _ = start_http_server(0, "127.0.0.1", metrics.registry)
    await serve_until_stopped(server, metrics_address=f"127.0.0.1:{web.server_port}")
    web.shutdown()
    await model.engine.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    asyncio.run(serve(parser.parse_args().folder))
