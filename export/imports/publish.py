"""Publishes what an import has found out: exported, verified, compared token for token with the translations of the
library that it comes from, and there all at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from export.bundle import (
    CERTIFICATE_FILE,
    DECODER_STEP_FILE,
    ENCODER_FILE,
    LENGTH_MULTIPLE,
    MODEL_CARD_FILE,
    NUM_CANDIDATES,
    read_graphs,
    records_of,
    states_of,
    weights_of,
    write_float32,
    write_graphs,
)
from export.imports.card import model_card
from export.imports.certify import certify
from export.imports.imported import Imported
from export.placing import free_version, place_version
from export.separately import separately
from export.sign import read_private_key
from service.model.certificate import read_certificate, replay
from service.model.manifest import MANIFEST_FILE, Manifest, Precision
from service.model.onnx_model import OnnxModel

DEFAULT_LONGEST = 256


def name_of(path: Path) -> str:
    """What a model is called after its folder or file."""
    return re.sub(r"[^a-z0-9._-]+", "-", path.resolve().name.lower()).strip("-._")


def publish(
    imported: Imported,
    *,
    model_store: Path,
    name: str,
    version: int | None,
    precision: Precision,
    sentences: Sequence[str],
    key: Path | None,
) -> Path:
    """Publish what an import has found out; the version's folder. Raises as `import_model`."""
    signing_key = None if key is None else read_private_key(key)
    number = free_version(model_store, name, version)

    def build(place: Path) -> None:
        _build(place, imported, name, number, precision, sentences)

    return place_version(model_store, name, number, build, key=signing_key)


def _build(
    folder: Path, imported: Imported, name: str, version: int, precision: Precision, sentences: Sequence[str]
) -> None:
    """Write, verify, certify and replay a version in FOLDER; a float32 twin of an int8 one lies beside it. What takes
    memory runs in one process after another."""
    float32_folder = folder if precision == "fp32" else folder.with_name("float32")
    separately(_write_float32, float32_folder, imported)
    if precision == "int8":
        separately(_write_int8, folder, float32_folder, imported)
    forms: dict[Path, Precision] = {float32_folder: "fp32", folder: precision}
    for where, form in forms.items():
        (where / CERTIFICATE_FILE).write_text("not measured yet\n", encoding="utf-8")
        manifest = _seal(where, imported, form, name, version)
    certificate = certify(imported, manifest, folder, float32_folder, sentences)
    (folder / CERTIFICATE_FILE).write_text(certificate.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (folder / MODEL_CARD_FILE).write_text(model_card(imported, manifest, certificate), encoding="utf-8")
    _seal(folder, imported, precision, name, version)
    separately(_replay, folder)


def _write_float32(folder: Path, imported: Imported) -> None:
    write_float32(folder, imported.architecture.load(imported.weights), imported.tokenization.files)


def _write_int8(folder: Path, float32_folder: Path, imported: Imported) -> None:
    outline = imported.architecture.outline()
    graphs = read_graphs(float32_folder, outline.state_specs, imported.tokenization.vocabulary.shared_size)
    write_graphs(folder, graphs.quantized(), imported.tokenization.files)


def _replay(folder: Path) -> None:
    replay(OnnxModel(folder, scratch=folder.parent), read_certificate(folder / CERTIFICATE_FILE))


def _seal(folder: Path, imported: Imported, precision: Precision, name: str, version: int) -> Manifest:
    """Write manifest.json for all other files that FOLDER holds."""
    tokens, decoding, outline = imported.tokenization, imported.decoding, imported.architecture.outline()
    most_made = min(imported.longest, decoding.longest or imported.longest)
    manifest = Manifest(
        format=1,
        name=name,
        version=version,
        family=imported.architecture.configuration.family,
        attention=outline.attention_description,
        precision=precision,
        source_language=tokens.source_language,
        target_language=tokens.target_language,
        max_source_length=imported.longest,
        max_target_length=most_made,
        length_multiple=LENGTH_MULTIPLE,
        num_candidates=NUM_CANDIDATES,
        vocabulary=tokens.vocabulary,
        search=decoding.search,
        encoder=ENCODER_FILE,
        decoder_step=DECODER_STEP_FILE,
        certificate=CERTIFICATE_FILE,
        states=states_of(outline),
        weights=weights_of(folder),
        files=records_of(folder),
    )
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest


def padded(length: int) -> int:
    """Rounded up to what lengths are multiples of."""
    return -(-length // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
