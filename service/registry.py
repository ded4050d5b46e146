"""The versions that serve, and the calls that hold them. It does not know gRPC, nor how versions are loaded.

A version that is taken away is found by no new call, and is free once the last call that holds it has ended.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from service.admission.admission import Admission
from service.calls import Call, current_call
from service.engine.pool import EnginePool
from service.errors import InvalidRequestError, ModelLoadingError, ModelNotFoundError
from service.model.manifest import Manifest, is_model_name
from service.translator import Translator

LABEL_PATTERN = r"[a-z][a-z0-9_-]{0,31}"
LOADING_PUSHBACK_MS = 1_000


@dataclass(frozen=True)
class LoadedModel:
    """One version, ready to translate."""

    manifest: Manifest
    certificate_json: str
    execution_provider: str
    engine: EnginePool
    translator: Translator
    admission: Admission


@dataclass
class _Holders:
    """The calls that hold one loaded version."""

    calls: set[int] = field(default_factory=set)
    free: asyncio.Event = field(default_factory=asyncio.Event)


class Registry:
    """Finds a loaded version by name and by number or label. It observes calls, and belongs to one event loop."""

    def __init__(self) -> None:
        self._models: dict[str, dict[int, LoadedModel]] = {}
        self._labels: dict[str, dict[str, int]] = {}
        self._loading: dict[str, set[int]] = {}
        self._holders: dict[int, _Holders] = {}

    def add(self, model: LoadedModel) -> None:
        """Serve a version, in place of the one with its name and number if there is any."""
        self._models.setdefault(model.manifest.name, {})[model.manifest.version] = model

    def remove(self, name: str, version: int) -> LoadedModel:
        """Serve a version no longer, nor its labels; calls that hold it keep it."""
        self._labels[name] = {label: number for label, number in self.labels(name).items() if number != version}
        versions = self._models[name]
        model = versions.pop(version)
        if not versions:
            del self._models[name]
        return model

    def all(self) -> list[LoadedModel]:
        """Every loaded version, by name, then by version."""
        return [versions[number] for _, versions in sorted(self._models.items()) for number in sorted(versions)]

    @property
    def is_healthy(self) -> bool:
        """Whether every version's engines are healthy. From any thread."""
        return all(model.engine.is_healthy for model in self.all())

    @property
    def serves_any(self) -> bool:
        """Whether any version serves; on any thread."""
        return bool(self._models)

    def versions(self, name: str) -> set[int]:
        """The versions of a model that serve."""
        return set(self._models.get(name, ()))

    def expect(self, name: str, versions: Iterable[int]) -> None:
        """Which versions of a model are being loaded."""
        self._loading[name] = set(versions)

    def label(self, name: str, label: str, version: int) -> None:
        """Give a version that serves a label, taking it from the one that has it; version 0: from that one alone.

        Raises InvalidRequestError or ModelNotFoundError.
        """
        _require_label(label)
        if version:
            self.find(name, version)
            self._labels.setdefault(name, {})[label] = version
        elif self._labels.get(name, {}).pop(label, None) is None:
            raise ModelNotFoundError("the model has no such label")

    def labels(self, name: str) -> dict[str, int]:
        """The labels of a model and their versions."""
        return dict(self._labels.get(name, {}))

    def find(self, name: str, version: int = 0, label: str = "") -> LoadedModel:
        """The version with a label, or a number; without either the newest one.

        Raises InvalidRequestError, ModelNotFoundError, or ModelLoadingError where it is being loaded.
        """
        _require_name(name)
        if version < 0:
            raise InvalidRequestError("version is {value}; it must be 0 for the newest, or from 1", value=version)
        versions = self._models.get(name, {})
        loading = self._loading.get(name, ())
        if label:
            _require_label(label)
            if version:
                raise InvalidRequestError("version and label exclude each other")
            version = self._labels.get(name, {}).get(label, 0)
            if not version and (versions or not loading):
                raise ModelNotFoundError("the model has no version with this label")
        if (version in loading and version not in versions) or (not versions and loading and not version):
            raise ModelLoadingError("the model is being loaded; try again later", pushback_ms=LOADING_PUSHBACK_MS)
        if not versions:
            raise ModelNotFoundError("no such model is loaded; ListModels tells which there are")
        if version and version not in versions:
            raise ModelNotFoundError(
                "version {version} of the model is not loaded; ListModels tells which are", version=version
            )
        return versions[version or max(versions)]

    def hold(self, name: str, version: int = 0, label: str = "") -> LoadedModel:
        """As `find`; the running call holds what it gets until it ends."""
        model = self.find(name, version, label)
        if (call := current_call.get(None)) is not None:
            self._holders.setdefault(id(model), _Holders()).calls.add(id(call))
        return model

    async def until_free(self, model: LoadedModel) -> None:
        """Until no call holds a version that was removed."""
        if (holders := self._holders.get(id(model))) is not None:
            await holders.free.wait()

    def call_started(self, call: Call) -> None:
        """A call holds nothing before it asks."""

    def call_ended(self, call: Call) -> None:
        for key, holders in list(self._holders.items()):
            holders.calls.discard(id(call))
            if not holders.calls:
                holders.free.set()
                del self._holders[key]


def _require_name(name: str) -> None:
    if not name:
        raise InvalidRequestError("no model is named; ListModels tells which there are")
    if not is_model_name(name):
        raise InvalidRequestError("this can be no model's name: a to z, 0 to 9, dot, underscore, hyphen; at most 64")


def _require_label(label: str) -> None:
    if not re.fullmatch(LABEL_PATTERN, label):
        raise InvalidRequestError("this can be no label: a to z, 0 to 9, underscore, hyphen; at most 32")
