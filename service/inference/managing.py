"""The Open Inference Protocol on the admin port: what manages models, by way of ManagementServicer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import grpc.aio

from service.errors import InvalidRequestError, ModelNotFoundError, PermissionDeniedError
from service.inference.describing import DescribingServicer
from service.management.servicer import ManagementServicer, require_version
from service.metrics import Metrics
from service.pb import inference_pb2 as pb
from service.pb import management_pb2
from service.registry import Registry

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

READY = "READY"
STATES: Mapping[management_pb2.VersionState.ValueType, str] = {
    management_pb2.VERSION_STATE_LOADING: "LOADING",
    management_pb2.VERSION_STATE_READY: READY,
    management_pb2.VERSION_STATE_DRAINING: "UNLOADING",
    management_pb2.VERSION_STATE_FAILED: "UNAVAILABLE",
    management_pb2.VERSION_STATE_UNLOADED: "UNAVAILABLE",
}


class ManagingServicer(DescribingServicer):
    """inference.GRPCInferenceService of one manager, without what translates."""

    def __init__(
        self, registry: Registry, metrics: Metrics, management: ManagementServicer, *, is_ready: Callable[[], bool]
    ) -> None:
        super().__init__(registry, metrics, is_ready=is_ready)
        self._management = management

    async def RepositoryIndex(self, request: pb.RepositoryIndexRequest, context: Context) -> pb.RepositoryIndexResponse:  # noqa: N802
        listed = await self._management.ListVersions(management_pb2.ListVersionsRequest(), context)
        models = map(_entry, listed.versions)
        return pb.RepositoryIndexResponse(models=[one for one in models if not request.ready or one.state == READY])

    async def RepositoryModelLoad(  # noqa: N802
        self, request: pb.RepositoryModelLoadRequest, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        _require_parameters(request.parameters, ())
        await self._management.LoadModel(management_pb2.LoadModelRequest(model=request.model_name), context)
        return pb.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(  # noqa: N802
        self, request: pb.RepositoryModelUnloadRequest, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        _require_parameters(request.parameters, ("unload_dependents",))
        name = request.model_name
        require_version(name, 0)
        labelled = set(self._registry.labels(name).values())
        # One with a label is refused: it comes first, so that nothing is unloaded then.
        versions = sorted(self._registry.versions(name), key=lambda version: version not in labelled)
        if not versions:
            raise ModelNotFoundError("no version of the model is loaded")
        for version in versions:
            await self._management.UnloadModel(management_pb2.UnloadModelRequest(model=name, version=version), context)
        return pb.RepositoryModelUnloadResponse()

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:  # noqa: N802, ARG002
        raise PermissionDeniedError("nothing is translated on the admin port")

    async def ModelStreamInfer(  # noqa: N802
        self,
        request_iterator: AsyncIterator[pb.ModelInferRequest],  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        raise PermissionDeniedError("nothing is translated on the admin port")
        yield


def _entry(version: management_pb2.Version) -> pb.RepositoryIndexResponse.ModelIndex:
    reason = management_pb2.FailureReason.Name(version.failure_reason).removeprefix("FAILURE_REASON_").lower()
    return pb.RepositoryIndexResponse.ModelIndex(
        name=version.model,
        version=str(version.version),
        state=STATES[version.state],
        reason=reason if version.failure_reason else "",
    )


def _require_parameters(given: Collection[str], known: Collection[str]) -> None:
    if set(given) - set(known):
        raise InvalidRequestError("loading takes no parameters: a model is what its published files say")
