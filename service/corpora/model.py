"""Finds the version that a corpus is translated with, and loads it: the very model that a server would serve."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import ValidationError

from service.corpora.errors import CorpusError
from service.corpora.job import Model
from service.ending import exit_at_once
from service.errors import ServiceError
from service.loading import load_model
from service.metrics import Metrics
from service.model.bundle import read_manifest
from service.model.errors import ModelError
from service.model.languages import UnknownLanguageError
from service.model.manifest import MANIFEST_FILE
from service.model.store import StoredVersion, list_versions
from service.model.text import open_texts
from service.options import Options, decoding_of
from service.registry import LoadedModel
from service.settings import Settings


def find_model(store: Path, name: str | None, version: int) -> Model:
    """version 0: the newest one; no name: the store's only model. Raises CorpusError."""
    try:
        versions = list_versions(store)
    except ModelError as error:
        raise CorpusError(str(error)) from None
    names = sorted({stored.name for stored in versions})
    if name is None and len(names) > 1:
        raise CorpusError(f"choose a model with --model: {store} has {', '.join(names)}")
    found = {stored.version: stored for stored in versions if name in (None, stored.name)}
    if not found or (version and version not in found):
        what = f"{name or 'model'}{f' version {version}' if version else ''}"
        raise CorpusError(f"{store} has no {what}; it has {', '.join(names) or 'no model'}")
    stored = found[version or max(found)]
    return Model(store.absolute(), stored.name, stored.version, _sha256(stored.folder))


def require_options(model: Model, options: Options) -> None:
    """Raises CorpusError for a version that is damaged, and for options that it takes for no sentence."""
    stored = _stored(model)
    try:
        manifest = read_manifest(stored.folder)
        if (manifest.name, manifest.version) != (model.name, model.version):
            raise CorpusError(f"{stored.folder} holds {manifest.name} version {manifest.version}")
        texts = open_texts(manifest, stored.folder)
        decoding_of(
            options,
            manifest,
            texts,
            texts.read("a", options.source_language, options.target_language),
            max_slots=settings_of(model, 1).max_slots,
        )
    except (ModelError, ServiceError, UnknownLanguageError) as error:
        raise CorpusError(str(error)) from None


def load(model: Model, *, num_cpus: int) -> LoadedModel:
    """The model with an engine of one thread for each of num_cpus processors, not started. A fault of an engine ends
    the process. Raises CorpusError."""
    stored = _stored(model)
    if _sha256(stored.folder) != model.manifest_sha256:
        raise CorpusError(f"{stored.folder} is not the version that the run was begun with")
    try:
        return load_model(stored, settings_of(model, num_cpus), Metrics(), on_failure=lambda _: exit_at_once(1))
    except ModelError as error:
        raise CorpusError(str(error)) from None


def settings_of(model: Model, num_cpus: int) -> Settings:
    """The server's, from the environment, for a process of so many processors; raises CorpusError."""
    try:
        return Settings(model_store=model.store, num_processes=1, num_workers=num_cpus, num_threads=1)
    except (ValidationError, ValueError, OSError) as error:
        raise CorpusError(f"a setting of the server in the environment is wrong: {error}") from None


def _stored(model: Model) -> StoredVersion:
    return StoredVersion(model.name, model.version, model.store / model.name / str(model.version))


def _sha256(folder: Path) -> str:
    try:
        return hashlib.sha256((folder / MANIFEST_FILE).read_bytes()).hexdigest()
    except OSError as error:
        raise CorpusError(f"{folder}: {error.strerror}") from None
