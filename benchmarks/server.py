"""Serves one version without asking for its certificate: random weights have none. Prints its address when ready."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import grpc.aio

from service.engine.engine import Engine
from service.engine.runner import Runner
from service.engine.scheduler import Limits
from service.interceptors import StatusInterceptor
from service.metrics import Metrics
from service.model.onnx_model import OnnxModel
from service.model.slots import Slots
from service.model.vocabulary import Vocabulary
from service.pb.translation_pb2_grpc import add_TranslationServiceServicer_to_server
from service.registry import LoadedModel, Registry
from service.servicer import TranslationServicer
from service.settings import Settings
from service.translator import Translator


def load(folder: Path, settings: Settings, metrics: Metrics) -> LoadedModel:
    """What the real server builds, but without the proof."""
    model = OnnxModel(folder, num_threads=settings.num_threads)
    manifest = model.manifest
    engine = Engine(
        Runner(Slots(model, settings.max_slots), end_id=manifest.vocabulary.end_id),
        Limits(
            max_slots=settings.max_slots,
            max_queue_length=settings.max_queue_length,
            max_encode_tokens=settings.max_encode_tokens,
            length_multiple=manifest.length_multiple,
        ),
        metrics.model(manifest.name, manifest.version),
        on_failure=lambda error: sys.exit(str(error)),
    )
    vocabulary = Vocabulary(folder / manifest.vocabulary.source, manifest.vocabulary.source_size)
    translator = Translator(manifest, vocabulary, vocabulary, engine, max_text_length=settings.max_text_length)
    return LoadedModel(manifest, "{}", model.execution_provider, engine, translator)


async def serve(folder: Path) -> None:
    """Until SIGTERM."""
    settings, metrics, registry = Settings(), Metrics(), Registry()
    model = load(folder, settings, metrics)
    model.engine.start()
    registry.add(model)
    server = grpc.aio.server(interceptors=(StatusInterceptor(metrics),))
    servicer = TranslationServicer(registry, max_texts=settings.max_texts, max_running=settings.max_slots)
    add_TranslationServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print(f"stepstream: serving on 127.0.0.1:{port}", flush=True)
    await stop.wait()
    await server.stop(0)
    await model.engine.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    asyncio.run(serve(parser.parse_args().folder))
