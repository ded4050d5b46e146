"""The gRPC methods of model management: turns messages into calls of the manager and statuses into messages."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio

from service.errors import InvalidRequestError, ModelNotFoundError, NotPossibleError
from service.management.errors import RefusedError
from service.management.manager import ModelManager, VersionStatus
from service.model.errors import ModelError, Reason
from service.model.manifest import is_model_name
from service.model.store import StoredVersion, list_models, versions_of
from service.pb import management_pb2 as pb
from service.pb import management_pb2_grpc as pb_grpc
from service.registry import Registry

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

REFUSALS = {
    Reason.MISSING: NotPossibleError("the version is refused: the version is in the store no longer"),
    Reason.MANIFEST: NotPossibleError("the version is refused: its manifest is not what a version's manifest is"),
    Reason.FILE: NotPossibleError("the version is refused: a file is missing, damaged, not listed, or no plain file"),
    Reason.SIGNATURE: NotPossibleError("the version is refused: no trusted key has signed its manifest"),
    Reason.GRAPH: NotPossibleError(
        "the version is refused: a graph cannot be loaded, reaches outside of its files, or is not as the manifest says"
    ),
    Reason.VOCABULARY: NotPossibleError(
        "the version is refused: a vocabulary cannot be loaded, or is not what the manifest says"
    ),
    Reason.CERTIFICATE: NotPossibleError(
        "the version is refused: it does not compute here what its certificate promises"
    ),
    Reason.PROVIDER: NotPossibleError("the version is refused: an execution provider cannot start"),
    Reason.MEMORY: NotPossibleError("the version is refused: it needs more memory than it may have"),
    Reason.TIMEOUT: NotPossibleError("the version is refused: trying it out took longer than it may"),
    Reason.CRASH: NotPossibleError("the version is refused: the process that tried it out was killed"),
    Reason.INTERNAL: NotPossibleError("the version is refused: a fault of the server"),
}
"""All that a caller is told; the server's log has the particulars."""


class ManagementServicer(pb_grpc.ModelManagementServiceServicer):
    """stepstream.v1.ModelManagementService of one manager."""

    def __init__(self, manager: ModelManager, registry: Registry, store: Path, *, on_demand: bool) -> None:
        """on_demand: whether callers may load and unload."""
        self._manager = manager
        self._registry = registry
        self._store = store
        self._on_demand = on_demand

    async def LoadModel(self, request: pb.LoadModelRequest, context: Context) -> pb.LoadModelResponse:  # noqa: N802, ARG002
        self._require_on_demand()
        stored = await find_stored(self._store, request.model, request.version)
        try:
            status = await self._manager.load(stored)
        except RefusedError as error:
            raise REFUSALS[error.reason].again() from error
        return pb.LoadModelResponse(version=_message(status))

    async def UnloadModel(self, request: pb.UnloadModelRequest, context: Context) -> pb.UnloadModelResponse:  # noqa: N802, ARG002
        self._require_on_demand()
        require_version(request.model, request.version, least=1)
        return pb.UnloadModelResponse(version=_message(await self._manager.unload(request.model, request.version)))

    async def SetLabel(self, request: pb.SetLabelRequest, context: Context) -> pb.SetLabelResponse:  # noqa: N802, ARG002
        require_version(request.model, request.version)
        self._registry.label(request.model, request.label, request.version)
        return pb.SetLabelResponse(labels=self._registry.labels(request.model))

    async def ListVersions(self, request: pb.ListVersionsRequest, context: Context) -> pb.ListVersionsResponse:  # noqa: N802, ARG002
        if request.model:
            require_version(request.model, 0)
        statuses = self._manager.statuses()
        return pb.ListVersionsResponse(
            versions=[_message(status) for status in statuses if request.model in ("", status.name)]
        )

    def _require_on_demand(self) -> None:
        if not self._on_demand:
            raise NotPossibleError("versions are loaded on demand in the mode `explicit` alone")


async def find_stored(store: Path, name: str, version: int) -> StoredVersion:
    """A version in the store, found in its listing and never by a path made of what a caller says; version 0 is the
    newest. Raises InvalidRequestError, ModelNotFoundError or NotPossibleError."""
    require_version(name, version)
    try:
        listed = await asyncio.to_thread(_list, store, name)
    except (OSError, ModelError) as error:
        raise NotPossibleError("the model store cannot be read") from error
    versions = {stored.version: stored for stored in listed}
    number = version or max(versions, default=0)
    if number not in versions:
        raise ModelNotFoundError("the store has no such version")
    return versions[number]


def _list(store: Path, name: str) -> list[StoredVersion]:
    return versions_of(store, name) if name in list_models(store) else []


def require_version(name: str, version: int, *, least: int = 0) -> None:
    """Raises InvalidRequestError for what can be no model's name or no version."""
    if not is_model_name(name):
        raise InvalidRequestError("this can be no model's name: a to z, 0 to 9, dot, underscore, hyphen; at most 64")
    if version < least:
        raise InvalidRequestError("version is {number}; it must be at least {least}", number=version, least=least)


def _message(status: VersionStatus) -> pb.Version:
    reason = "UNSPECIFIED" if status.reason is None else status.reason.upper()
    return pb.Version(
        model=status.name,
        version=status.version,
        state=pb.VersionState.Value(f"VERSION_STATE_{status.state.upper()}"),
        failure_reason=pb.FailureReason.Value(f"FAILURE_REASON_{reason}"),
        labels=status.labels,
    )
