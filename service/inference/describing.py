"""What both ports tell by the Open Inference Protocol: of the server, of its models, and what these have done."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc.aio

from service.errors import ModelLoadingError, ModelNotFoundError
from service.inference import models
from service.inference.requests import which
from service.metrics import Metrics
from service.observability.build import package_version
from service.pb import inference_pb2 as pb
from service.pb import inference_pb2_grpc as pb_grpc
from service.registry import LoadedModel, Registry

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

NAME = "stepstream"
EXTENSIONS = ("model_repository", "model_configuration", "parameters", "schedule_policy", "statistics")


class DescribingServicer(pb_grpc.GRPCInferenceServiceServicer):
    """The methods of inference.GRPCInferenceService that change nothing and translate nothing."""

    def __init__(self, registry: Registry, metrics: Metrics, *, is_ready: Callable[[], bool]) -> None:
        self._registry = registry
        self._metrics = metrics
        self._is_ready = is_ready

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:  # noqa: N802, ARG002
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:  # noqa: N802, ARG002
        return pb.ServerReadyResponse(ready=self._is_ready())

    async def ServerMetadata(  # noqa: N802
        self,
        request: pb.ServerMetadataRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name=NAME, version=package_version(NAME), extensions=EXTENSIONS)

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:  # noqa: N802, ARG002
        try:
            model = self._find(request.name, request.version)
        except (ModelNotFoundError, ModelLoadingError):
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=self._is_ready() and model.engine.is_healthy)

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:  # noqa: N802, ARG002
        model = self._find(request.name, request.version)
        versions = [model.manifest.version] if request.version else sorted(self._registry.versions(request.name))
        return models.metadata(model, versions)

    async def ModelConfig(self, request: pb.ModelConfigRequest, context: Context) -> pb.ModelConfigResponse:  # noqa: N802, ARG002
        return pb.ModelConfigResponse(config=models.config(self._find(request.name, request.version)))

    async def ModelStatistics(  # noqa: N802
        self,
        request: pb.ModelStatisticsRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.ModelStatisticsResponse:
        asked = self._registry.all()
        if request.name:
            found = self._find(request.name, request.version)
            asked = [m for m in asked if m is found or (not request.version and m.manifest.name == request.name)]
        return pb.ModelStatisticsResponse(
            model_stats=[
                models.statistics(model, self._metrics.totals(model.manifest.name, model.manifest.version))
                for model in asked
            ]
        )

    def _find(self, name: str, version: str) -> LoadedModel:
        return self._registry.find(name, *which(version))
