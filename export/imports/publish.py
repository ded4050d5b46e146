"""Publishes what an import has found out: exported, verified, compared token for token with the translations of the
library that it comes from, and there all at once. It waits for the processes that do so, and has no torch itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from export.imports import stages
from export.imports.certify import certify
from export.imports.packed import Packed
from export.placing import free_version, place_version
from export.separately import separately
from export.sign import read_private_key
from service.model.manifest import Precision


def publish(
    packed: Packed,
    *,
    model_store: Path,
    name: str | None,
    version: int | None,
    precision: Precision,
    sentences: Sequence[str],
    key: Path | None,
) -> Path:
    """Publish what an import has found out as MODEL_STORE/NAME/VERSION; the version's folder.

    By default NAME is the original's and VERSION the next free number. sentences are what is measured on, instead of
    built-in English ones. Raises ImportedModelError, SigningError, PublishError, VersionExistsError or
    VerificationError; then nothing has been published.
    """
    signing_key = None if key is None else read_private_key(key)
    called = name or _name_of(packed.folder)
    number = free_version(model_store, called, version)

    def build(place: Path) -> None:
        _build(place, packed, called, number, precision, sentences)

    return place_version(model_store, called, number, build, key=signing_key)


def _name_of(path: Path) -> str:
    """What a model is called after its folder or file."""
    resolved = path.resolve()
    return re.sub(r"[^a-z0-9._-]+", "-", (resolved.stem if path.is_file() else resolved.name).lower()).strip("-._")


def _build(
    folder: Path, packed: Packed, name: str, version: int, precision: Precision, sentences: Sequence[str]
) -> None:
    """Write, verify, certify and replay a version in FOLDER; a float32 twin of an int8 one lies beside it. What takes
    memory runs in one process after another."""
    float32_folder = folder if precision == "fp32" else folder.with_name("float32")
    manifest = separately(stages.write_float32, float32_folder, packed, name, version)
    if precision == "int8":
        manifest = separately(stages.write_int8, folder, float32_folder, packed, name, version)
    certify(packed, manifest, folder, float32_folder, sentences)
    separately(stages.replay, folder)
