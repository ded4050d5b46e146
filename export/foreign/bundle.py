"""Writes the files of a foreign version into a folder: its graphs as they are, vocabularies, manifest. It measures
nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from export.bundle import LENGTH_MULTIPLE, NUM_CANDIDATES
from export.foreign.mapping import Mapping
from export.foreign.originals import Original, write_beside
from export.foreign.resolve import Resolved
from export.foreign.vocabularies import PreparedVocabulary
from export.version_files import (
    CERTIFICATE_FILE,
    DECODER_STEP_FILE,
    ENCODER_FILE,
    WEIGHTS_FILE,
    records_of,
    save_manifest,
    weights_of,
)
from service.model.foreign.roles import ForeignPair
from service.model.manifest import Manifest
from service.model.vocabulary_files import VocabularyFiles


@dataclass(frozen=True)
class Parts:
    """Everything that a version is made of."""

    mapping: Mapping
    encoder: Original
    decoder: Original
    source: PreparedVocabulary
    target: PreparedVocabulary
    resolved: Resolved


def write_parts(folder: Path, parts: Parts) -> None:
    """Create FOLDER with both graphs and the vocabularies."""
    folder.mkdir()
    (folder / ENCODER_FILE).write_bytes(parts.encoder.content)
    (folder / DECODER_STEP_FILE).write_bytes(parts.decoder.content)
    write_beside(folder / WEIGHTS_FILE, (parts.encoder, parts.decoder))
    for vocabulary in (parts.source, parts.target):
        (folder / vocabulary.file).write_bytes(vocabulary.content)
    (folder / CERTIFICATE_FILE).write_text("not measured yet\n", encoding="utf-8")


def write_manifest(folder: Path, parts: Parts, pair: ForeignPair, name: str, version: int) -> Manifest:
    """Write manifest.json for all other files that FOLDER holds; pair is the resolved one with what it may share."""
    mapping, resolved = parts.mapping, parts.resolved
    is_quantized = parts.encoder.is_quantized or parts.decoder.is_quantized
    manifest = Manifest(
        format=1,
        name=name,
        version=version,
        family="foreign",
        attention=None if pair.decoder.attention is None else f"the graph's output {pair.decoder.attention.name}",
        precision="int8" if is_quantized else "fp32",
        source_language=mapping.source_language,
        target_language=mapping.target_language,
        max_source_length=mapping.max_source_length,
        max_target_length=mapping.max_target_length,
        length_multiple=LENGTH_MULTIPLE,
        num_candidates=min(NUM_CANDIDATES, len(parts.target.tokens)),
        vocabulary=VocabularyFiles(
            source=parts.source.file,
            target=parts.target.file,
            source_size=len(parts.source.tokens),
            target_size=len(parts.target.tokens),
            begin_id=resolved.begin_id,
            end_id=resolved.end_id,
        ),
        encoder=ENCODER_FILE,
        decoder_step=DECODER_STEP_FILE,
        certificate=CERTIFICATE_FILE,
        states=resolved.states,
        foreign=pair,
        weights=weights_of(folder),
        files=records_of(folder),
    )
    save_manifest(folder, manifest)
    return manifest
