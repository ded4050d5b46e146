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
    """Every version in the store, by name, then by version; raises BundleError where the store is no folder.

    Folders whose name is no model name or no version number are left alone: a version being published has such a
    name until it is whole. A manifest that is no plain file is found too, for its version to be refused.
    """
    if not store.is_dir():
        raise BundleError(f"the model store {store} is no folder")
    return sorted(
        StoredVersion(model.name, int(version.name), version)
        for model in store.iterdir()
        if is_model_name(model.name) and model.is_dir()
        for version in model.iterdir()
        if _is_version(version.name) and os.path.lexists(version / MANIFEST_FILE)
    )


def _is_version(name: str) -> bool:
    """A number from 1 as it is written, of at most 64 bits."""
    return re.fullmatch(r"[1-9]\d{0,18}", name, re.ASCII) is not None and int(name) <= MAX_VERSION
