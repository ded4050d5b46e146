"""The loaded versions of every model. It does not know gRPC, nor how versions are loaded."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.engine.pool import EnginePool
from service.errors import ModelNotFoundError
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
        """Version 0 is the newest one; raises ModelNotFoundError."""
        versions = [number for known, number in self._models if known == name]
        if not versions:
            raise ModelNotFoundError("no such model is loaded; ListModels tells which there are")
        if version and version not in versions:
            raise ModelNotFoundError(
                "version {version} of the model is not loaded; ListModels tells which are", version=version
            )
        return self._models[name, version or max(versions)]
