"""The Open Inference Protocol on the port for everybody: turns its requests into ours, and our responses into its own.
Whoever translates is TranslationServicer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc.aio

from service.calls import find_call
from service.errors import PermissionDeniedError
from service.inference.describing import DescribingServicer
from service.inference.requests import OUTPUTS, STREAM_OUTPUTS, asked, stream_request, translate_request
from service.inference.responses import StepResponses, infer_response
from service.inference.streams import StreamRules, responses_of
from service.metrics import Metrics
from service.pb import inference_pb2 as pb
from service.registry import Registry
from service.servicer import TranslationServicer
from service.validation import Limits

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

STRICT = ("triton_grpc_error", "true")
"""Metadata of a stream that an error shall end."""


class InferenceServicer(DescribingServicer):
    """inference.GRPCInferenceService of the models of a registry, without what manages them."""

    def __init__(
        self,
        registry: Registry,
        metrics: Metrics,
        translation: TranslationServicer,
        *,
        limits: Limits,
        rules: StreamRules,
        is_ready: Callable[[], bool],
    ) -> None:
        super().__init__(registry, metrics, is_ready=is_ready)
        self._translation = translation
        self._limits = limits
        self._rules = rules

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:  # noqa: N802
        wanted = asked(request, OUTPUTS)
        translate, parameters = translate_request(request)
        self._limits.check(translate)
        find_call().end_within(parameters.timeout_s)
        return infer_response(wanted, await self._translation.Translate(translate, context))

    async def ModelStreamInfer(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        def steps(request: pb.ModelInferRequest) -> AsyncGenerator[pb.ModelStreamInferResponse, None]:
            return self._steps(request, context)

        responses = responses_of(
            request_iterator,
            steps,
            self._rules,
            remaining_s=context.time_remaining(),
            is_strict=STRICT in map(tuple, context.invocation_metadata() or ()),
        )
        async with aclosing(responses):
            async for response in responses:
                yield response

    async def _steps(
        self, request: pb.ModelInferRequest, context: Context
    ) -> AsyncGenerator[pb.ModelStreamInferResponse, None]:
        wanted = asked(request, STREAM_OUTPUTS)
        translate, parameters = stream_request(request, wanted)
        self._limits.check(translate)
        find_call().end_within(parameters.timeout_s)
        responses = StepResponses(wanted, request.model_name)
        async with aclosing(self._translation.StreamTranslate(translate, context)) as steps:
            async for step in steps:
                if (response := responses.of(step)) is not None:
                    yield response

    async def RepositoryIndex(  # noqa: N802
        self,
        request: pb.RepositoryIndexRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> pb.RepositoryIndexResponse:
        index = pb.RepositoryIndexResponse.ModelIndex
        manifests = [model.manifest for model in self._registry.all()]
        return pb.RepositoryIndexResponse(
            models=[index(name=one.name, version=str(one.version), state="READY") for one in manifests]
        )

    async def RepositoryModelLoad(  # noqa: N802
        self,
        request: pb.RepositoryModelLoadRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> pb.RepositoryModelLoadResponse:
        raise PermissionDeniedError("models are loaded and unloaded on the admin port alone")

    async def RepositoryModelUnload(  # noqa: N802
        self,
        request: pb.RepositoryModelUnloadRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> pb.RepositoryModelUnloadResponse:
        raise PermissionDeniedError("models are loaded and unloaded on the admin port alone")
