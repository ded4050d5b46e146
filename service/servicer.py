"""The gRPC methods: turns messages into calls of the translator and results into messages, nothing else."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc.aio

from service.engine.request import FinishReason
from service.errors import InvalidRequestError
from service.pb import translation_pb2 as pb
from service.pb import translation_pb2_grpc as pb_grpc
from service.registry import LoadedModel, Registry
from service.translator import Completion, Options, StreamedStep

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

_REASONS = {
    FinishReason.END_OF_SENTENCE: pb.FINISH_REASON_END_OF_SENTENCE,
    FinishReason.MAX_LENGTH: pb.FINISH_REASON_MAX_LENGTH,
}


class TranslationServicer(pb_grpc.TranslationServiceServicer):
    """stepstream.v1.TranslationService on the models of a registry."""

    def __init__(self, registry: Registry, *, max_texts: int, max_running: int) -> None:
        """max_texts in one request, of which max_running are translated at the same time."""
        self._registry = registry
        self._max_texts = max_texts
        self._max_running = max_running

    async def Translate(self, request: pb.TranslateRequest, context: Context) -> pb.TranslateResponse:  # noqa: N802
        model = self._registry.find(request.model, request.version)
        if not 1 <= len(request.texts) <= self._max_texts:
            raise InvalidRequestError(
                f"the request has {len(request.texts)} texts; it must have from 1 to {self._max_texts}"
            )
        completions = await model.translator.translate(
            list(request.texts), _options(request.options, context), max_running=self._max_running
        )
        translations = [
            pb.Translation(
                text=done.text,
                finish_reason=_REASONS[done.finish_reason],
                log_probability=done.log_probability,
                num_source_tokens=done.num_source_tokens,
                num_target_tokens=done.num_target_tokens,
            )
            for done in completions
        ]
        return pb.TranslateResponse(
            translations=translations, model=model.manifest.name, version=model.manifest.version
        )

    async def StreamTranslate(  # noqa: N802
        self, request: pb.StreamTranslateRequest, context: Context
    ) -> AsyncIterator[pb.StreamTranslateResponse]:
        model = self._registry.find(request.model, request.version)
        source = model.translator.read(request.text)
        steps = model.translator.stream(
            source, _options(request.options, context), include_attention=request.include_attention
        )
        shown = None
        if request.include_attention:
            shown = pb.Source(pieces=model.translator.source_pieces(source))
        async with aclosing(steps):
            async for step in steps:
                yield pb.StreamTranslateResponse(
                    step=_step(step), source=shown, completion=_completion(step.completion, model.manifest.version)
                )
                shown = None

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:  # noqa: N802, ARG002
        return pb.ListModelsResponse(models=[_model(model) for model in self._registry.all()])

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:  # noqa: N802, ARG002
        model = self._registry.find(request.model, request.version)
        message = _model(model)
        message.certificate_json = model.certificate_json
        return pb.GetModelResponse(model=message)


def _options(options: pb.DecodingOptions, context: Context) -> Options:
    remaining_s = context.time_remaining()
    return Options(
        max_length=options.max_length or None,
        deadline=None if remaining_s is None else time.monotonic() + remaining_s,
        seed=options.seed if options.HasField("seed") else None,
    )


def _step(step: StreamedStep) -> pb.Step | None:
    if step.result is None:
        return None
    return pb.Step(
        index=step.result.index,
        token_id=step.result.token_id,
        piece=step.piece,
        text_delta=step.text_delta,
        log_probability=step.result.log_probability,
        attention=step.result.attention,
    )


def _completion(done: Completion | None, version: int) -> pb.Completion | None:
    if done is None:
        return None
    return pb.Completion(
        text=done.text,
        finish_reason=_REASONS[done.finish_reason],
        log_probability=done.log_probability,
        num_source_tokens=done.num_source_tokens,
        num_target_tokens=done.num_target_tokens,
        timings=pb.Timings(
            queue_ms=done.queue_s * 1e3, first_token_ms=done.first_token_s * 1e3, total_ms=done.total_s * 1e3
        ),
        version=version,
    )


def _model(model: LoadedModel) -> pb.Model:
    manifest = model.manifest
    return pb.Model(
        name=manifest.name,
        version=manifest.version,
        source_language=manifest.source_language,
        target_language=manifest.target_language,
        family=manifest.family,
        attention=manifest.attention,
        precision=manifest.precision,
        execution_provider=model.execution_provider,
        max_source_length=manifest.max_source_length,
        max_target_length=manifest.max_target_length,
    )
