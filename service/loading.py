"""From a stored version to a model that is ready to translate, proved on the way. It does not know gRPC."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog

from service.engine.engine import Engine
from service.engine.pool import EnginePool
from service.engine.runner import Runner
from service.engine.scheduler import Limits
from service.metrics import Metrics
from service.model.certificate import read_certificate, replay
from service.model.errors import BundleError
from service.model.onnx_model import OnnxModel
from service.model.rules import mask_rules
from service.model.slots import Slots
from service.model.store import StoredVersion
from service.model.text import open_texts
from service.registry import LoadedModel
from service.settings import Settings, parse_providers
from service.translator import Translator

OnFailure = Callable[[BaseException], None]

_log = structlog.get_logger()


def load_model(version: StoredVersion, settings: Settings, metrics: Metrics, *, on_failure: OnFailure) -> LoadedModel:
    """Check the files, load the graphs, replay the certificate; raises ModelError."""
    providers = parse_providers(settings.execution_providers)
    onnx_model = OnnxModel(version.folder, providers=providers, num_threads=settings.num_threads)
    manifest = onnx_model.manifest
    if (manifest.name, manifest.version) != (version.name, version.version):
        raise BundleError(f"{version.folder} holds {manifest.name} version {manifest.version}")
    certificate_path = version.folder / manifest.certificate
    certificate = read_certificate(certificate_path)
    if settings.verify_certificates:
        replay(onnx_model, certificate)
    certificate_json = certificate_path.read_text(encoding="utf-8")
    model = assemble(onnx_model, certificate_json, settings, metrics, on_failure=on_failure)
    _log.info("model loaded", model=manifest.name, version=manifest.version, precision=manifest.precision)
    return model


def assemble(
    onnx_model: OnnxModel, certificate_json: str, settings: Settings, metrics: Metrics, *, on_failure: OnFailure
) -> LoadedModel:
    """Put rows, engines and translator around the graphs; the engines are not started."""
    manifest = onnx_model.manifest
    step_bytes = manifest.files[manifest.decoder_step].size
    limits = Limits(
        max_slots=settings.max_slots,
        max_queue_length=settings.max_queue_length,
        max_encode_tokens=settings.max_encode_tokens,
        length_multiple=manifest.length_multiple,
    )
    engines = [
        Engine(
            f"{manifest.name}-{manifest.version}-{number}",
            Runner(
                Slots(onnx_model, limits.max_slots),
                end_id=manifest.vocabulary.end_id,
                rules_for=partial(mask_rules, manifest),
            ),
            limits,
            metrics.engine(manifest.name, manifest.version, num_slots=limits.max_slots),
            on_failure=on_failure,
        )
        for number in range(settings.num_engines(step_bytes))
    ]
    pool = EnginePool(engines)
    texts = open_texts(manifest, onnx_model.folder)
    translator = Translator(manifest, texts, pool, max_text_bytes=settings.max_text_bytes, max_slots=settings.max_slots)
    return LoadedModel(manifest, certificate_json, onnx_model.execution_provider, pool, translator)
