"""The loaded versions of every model. It does not know gRPC, nor how versions are loaded."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.admission.admission import Admission
from service.engine.pool import EnginePool
from service.errors import InvalidRequestError, ModelNotFoundError
from service.model.manifest import Manifest
from service.translator import Translator


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
class Registry:
    """Finds a loaded model by name and version."""

    _models: dict[tuple[str, int], LoadedModel] = field(default_factory=dict)

    def add(self, model: LoadedModel) -> None:
        self._models[model.manifest.name, model.manifest.version] = model

    def all(self) -> list[LoadedModel]:
        """Every loaded version, by name, then by version."""
        return [self._models[key] for key in sorted(self._models)]

    def find(self, name: str, version: int) -> LoadedModel:
        """Version 0 is the newest one; raises InvalidRequestError or ModelNotFoundError."""
        if not name:
            raise InvalidRequestError("no model is named; ListModels tells which there are")
        if version < 0:
            raise InvalidRequestError(f"version is {version}; it must be 0 for the newest, or from 1")
        versions = [number for known, number in self._models if known == name]
        if not versions:
            raise ModelNotFoundError("no such model is loaded; ListModels tells which there are")
        if version and version not in versions:
            raise ModelNotFoundError(f"version {version} of the model is not loaded; loaded are {sorted(versions)}")
        return self._models[name, version or max(versions)]
