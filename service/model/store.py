"""The model store: MODEL/VERSION/ folders. It finds versions; it does not open them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from service.model.errors import BundleError
from service.model.manifest import MANIFEST_FILE, MAX_VERSION, is_model_name


@dataclass(frozen=True, order=True)
class StoredVersion:
    """Where one version lies."""

    name: str
    version: int
    folder: Path


def list_versions(store: Path) -> list[StoredVersion]:
    """Every version in the store, by name, then by version; raises BundleError where the store is no folder, OSError
    where it or a model's folder cannot be read.

    Folders whose name is no model name or no version number are left alone: a version being published has such a
    name until it is whole. A manifest that is no plain file is found too, for its version to be refused.
    """
    return [stored for name in list_models(store) for stored in versions_of(store, name)]


def list_models(store: Path) -> list[str]:
    """The names of all models in the store, in order; raises as `list_versions`."""
    if not store.is_dir():
        raise BundleError(f"the model store {store} is no folder")
    return sorted(model.name for model in store.iterdir() if is_model_name(model.name) and model.is_dir())


def versions_of(store: Path, name: str) -> list[StoredVersion]:
    """The versions of one model, in order; raises OSError where its folder cannot be read."""
    return sorted(
        StoredVersion(name, int(version.name), version)
        for version in (store / name).iterdir()
        if _is_version(version.name) and os.path.lexists(version / MANIFEST_FILE)
    )


def _is_version(name: str) -> bool:
    """A number from 1 as it is written, of at most 64 bits."""
    return re.fullmatch(r"[1-9]\d{0,18}", name, re.ASCII) is not None and int(name) <= MAX_VERSION
