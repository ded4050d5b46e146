"""From a stored version to a model that is ready to translate, proved on the way. It does not know gRPC."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog

from service.admission.admission import Admission
from service.engine.decoding.make import beam_search_of
from service.engine.engine import Engine
from service.engine.pool import EnginePool
from service.engine.runner import Runner
from service.engine.scheduler import Limits
from service.heap import trim
from service.metrics import Metrics
from service.model.onnx_model import OnnxModel
from service.model.opening import Proof, open_version
from service.model.rules import model_rules
from service.model.slots import Slots
from service.model.store import StoredVersion
from service.model.text import open_texts
from service.registry import LoadedModel
from service.settings import Settings, parse_providers
from service.translator import Translator

OnFailure = Callable[[BaseException], None]

_log = structlog.get_logger()


def load_model(
    version: StoredVersion,
    settings: Settings,
    metrics: Metrics,
    *,
    on_failure: OnFailure,
    proved_sha256: str | None = None,
) -> LoadedModel:
    """Prove the version, or take it as it was proved before, and load it; raises ModelError."""
    opened = open_version(
        version,
        Proof(settings.trusted_keys, settings.verify_certificates, proved_sha256),
        providers=parse_providers(settings.execution_providers),
        num_threads=settings.num_threads,
    )
    model = assemble(opened.onnx_model, opened.certificate_json, settings, metrics, on_failure=on_failure)
    opened.onnx_model.files.clear()
    trim()
    manifest = model.manifest
    _log.info("model loaded", model=manifest.name, version=manifest.version, precision=manifest.precision)
    return model


def assemble(
    onnx_model: OnnxModel, certificate_json: str, settings: Settings, metrics: Metrics, *, on_failure: OnFailure
) -> LoadedModel:
    """Put rows, engines and translator around the graphs; the engines are not started."""
    manifest = onnx_model.manifest
    step_bytes = manifest.files[manifest.weights or manifest.decoder_step].size
    limits = Limits(
        max_slots=settings.max_slots,
        max_encode_tokens=settings.max_encode_tokens,
        length_multiple=manifest.length_multiple,
    )
    engines = [
        Engine(
            f"{manifest.name}-{manifest.version}-{number}",
            Runner(
                Slots(onnx_model, limits.max_slots),
                end_id=manifest.vocabulary.end_id,
                empty_source=manifest.empty_source,
                rules_for=partial(model_rules, manifest),
                beam_search=beam_search_of(manifest),
                max_failed_steps=settings.max_failed_steps,
            ),
            limits,
            metrics.engine(manifest.name, manifest.version, num_slots=limits.max_slots),
            on_failure=on_failure,
            niceness=settings.engine_niceness,
        )
        for number in range(settings.num_engines(step_bytes))
    ]
    pool = EnginePool(engines, step_timeout_s=settings.step_timeout_s)
    texts = open_texts(manifest, onnx_model.folder, onnx_model.files)
    translator = Translator(manifest, texts, pool, max_text_bytes=settings.max_text_bytes, max_slots=settings.max_slots)
    admission = Admission(settings.admission_limits, [engine.row_limit for engine in engines])
    metrics.watch_promised(manifest.name, manifest.version, lambda: admission.num_promised)
    return LoadedModel(manifest, certificate_json, onnx_model.execution_provider, pool, translator, admission)
