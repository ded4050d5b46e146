"""The gRPC methods: turns messages into calls of the translator and results into messages, nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc.aio

from service import messages
from service.calls import current_call
from service.errors import DeadlineExceededError, InvalidRequestError
from service.options import Options
from service.pb import translation_pb2 as pb
from service.pb import translation_pb2_grpc as pb_grpc
from service.registry import LoadedModel, Registry
from service.results import StreamedStep
from service.translator import InteractiveTranslation

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class TranslationServicer(pb_grpc.TranslationServiceServicer):
    """stepstream.v1.TranslationService on the models of a registry."""

    def __init__(self, registry: Registry, *, max_running: int) -> None:
        """max_running texts of one request are translated at the same time."""
        self._registry = registry
        self._max_running = max_running

    async def Translate(self, request: pb.TranslateRequest, context: Context) -> pb.TranslateResponse:  # noqa: N802, ARG002
        model = self._registry.hold(request.model, request.version, request.label)
        options = messages.options_from(request.options)
        with model.admission.arrive(messages.claim_from(request.priority)) as ticket:
            completions = await model.translator.translate(
                list(request.texts), options, ticket, max_running=self._max_running
            )
        return pb.TranslateResponse(
            translations=[messages.translation(done) for done in completions],
            model=model.manifest.name,
            version=model.manifest.version,
        )

    async def StreamTranslate(  # noqa: N802
        self,
        request: pb.StreamTranslateRequest,
        context: Context,  # noqa: ARG002
    ) -> AsyncGenerator[pb.StreamTranslateResponse, None]:
        model = self._registry.hold(request.model, request.version, request.label)
        options = messages.stream_options_from(request)
        with model.admission.arrive(messages.claim_from(request.priority)) as ticket:
            source = await model.translator.read(request.text, options)
            steps = model.translator.stream(source, options, ticket, include_attention=request.include_attention)
            pieces = model.translator.source_pieces(source) if request.include_attention else ()
            responses = messages.StepResponses(model.manifest.version, pieces)
            async with aclosing(steps):
                async for step in steps:
                    yield responses.of(step)

    async def TranslateInteractive(  # noqa: N802
        self,
        request_iterator: AsyncIterator[pb.TranslateInteractiveRequest],
        context: Context,  # noqa: ARG002
    ) -> AsyncIterator[pb.TranslateInteractiveResponse]:
        deadline = current_call.get().deadline
        try:
            async with asyncio.timeout(None if deadline is None else deadline - time.monotonic()):
                first = await anext(aiter(request_iterator), None)
        except TimeoutError:
            raise DeadlineExceededError("the deadline passed before the translation was started") from None
        if first is None or first.WhichOneof("action") != "start":
            raise InvalidRequestError("the first message must start the translation")
        start = first.start
        if start.HasField("resume"):
            raise InvalidRequestError("resume is for StreamTranslate; an interactive translation takes a target_prefix")
        model = self._registry.hold(start.model, start.version, start.label)
        options = messages.options_from(start.options)
        with model.admission.arrive(messages.claim_from(start.priority)) as ticket:
            source = await model.translator.read(start.text, options)
            translation = model.translator.interactive(
                source, options, ticket, include_attention=start.include_attention
            )
            pieces = model.translator.source_pieces(source) if start.include_attention else ()
            responses = messages.StepResponses(model.manifest.version, pieces)
            async with aclosing(_edited(translation, request_iterator, ticket.claim.deadline)) as steps:
                async for edit, step in steps:
                    yield pb.TranslateInteractiveResponse(edit=edit, response=responses.of(step))

    async def Score(self, request: pb.ScoreRequest, context: Context) -> pb.ScoreResponse:  # noqa: N802, ARG002
        model = self._registry.hold(request.model, request.version, request.label)
        pairs = [(pair.source, pair.target) for pair in request.pairs]
        options = Options(source_language=request.source_language, target_language=request.target_language)
        with model.admission.arrive(messages.claim_from(request.priority)) as ticket:
            scored = await model.translator.score(pairs, ticket, max_running=self._max_running, options=options)
        return pb.ScoreResponse(targets=[messages.scored_target(one) for one in scored], version=model.manifest.version)

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:  # noqa: N802, ARG002
        return pb.ListModelsResponse(models=[messages.model_message(model) for model in self._registry.all()])

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:  # noqa: N802, ARG002
        model: LoadedModel = self._registry.hold(request.model, request.version, request.label)
        message = messages.model_message(model)
        message.certificate_json = model.certificate_json
        return pb.GetModelResponse(model=message)


async def _edited(
    translation: InteractiveTranslation,
    requests: AsyncIterator[pb.TranslateInteractiveRequest],
    deadline: float | None,
) -> AsyncGenerator[tuple[int, StreamedStep], None]:
    """The steps of a translation while the caller's edits arrive; ends when the caller has sent the last one and what
    it asked for is complete. Raises DeadlineExceededError."""
    num_edits = 0
    is_complete = asyncio.Event()

    async def read() -> None:
        nonlocal num_edits
        async for request in requests:
            if request.WhichOneof("action") != "edit":
                raise InvalidRequestError("only the first message starts the translation")
            translation.edit(request.edit.target_prefix)
            num_edits += 1
            is_complete.clear()
        await is_complete.wait()

    async with aclosing(translation.steps) as steps:
        step = asyncio.ensure_future(anext(steps))
        reader = asyncio.ensure_future(read())
        try:
            while True:
                remaining_s = None if deadline is None else deadline - time.monotonic()
                await asyncio.wait((step, reader), timeout=remaining_s, return_when=asyncio.FIRST_COMPLETED)
                if step.done():
                    edit, made = step.result()
                    yield edit, made
                    if made.completion is not None and edit == num_edits:
                        is_complete.set()
                    step = asyncio.ensure_future(anext(steps))
                elif reader.done():
                    reader.result()
                    return
                else:
                    raise DeadlineExceededError("the deadline passed before the caller had sent the last edit")
        finally:
            for task in (reader, step):
                task.cancel()
            await asyncio.gather(reader, step, return_exceptions=True)
