"""Writes the graphs and the manifest of an imported version. It measures nothing."""

from __future__ import annotations

from pathlib import Path

from export.bundle import (
    LENGTH_MULTIPLE,
    NUM_CANDIDATES,
    read_graphs,
    states_of,
    write_float32,
    write_graphs,
)
from export.imports.imported import Imported
from export.version_files import (
    CERTIFICATE_FILE,
    DECODER_STEP_FILE,
    ENCODER_FILE,
    records_of,
    save_manifest,
    weights_of,
)
from service.model.manifest import Manifest, Precision


def write_fp32(folder: Path, imported: Imported, name: str, version: int) -> Manifest:
    """Create FOLDER with everything but the certificate and the model card, in float32."""
    write_float32(folder, imported.architecture.load(imported.weights), imported.tokenization.files)
    return _seal(folder, imported, "fp32", name, version)


def write_int8(folder: Path, float32_folder: Path, imported: Imported, name: str, version: int) -> Manifest:
    """The same in 8 bits, from what float32 wrote."""
    outline = imported.architecture.outline()
    graphs = read_graphs(float32_folder, outline.state_specs, imported.tokenization.vocabulary.shared_size)
    write_graphs(folder, graphs.quantized(), imported.tokenization.files)
    return _seal(folder, imported, "int8", name, version)


def _seal(folder: Path, imported: Imported, precision: Precision, name: str, version: int) -> Manifest:
    """Write manifest.json for all other files of FOLDER, with something in the certificate's place."""
    (folder / CERTIFICATE_FILE).write_text("not measured yet\n", encoding="utf-8")
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
    save_manifest(folder, manifest)
    return manifest
