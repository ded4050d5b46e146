"""The files of a version: what they are called, their hashes, and that they are on the disk. It knows neither torch nor
ONNX."""

from __future__ import annotations

import os
from pathlib import Path

from service.model.file_record import FileRecord, file_sha256
from service.model.manifest import MANIFEST_FILE, Manifest

ENCODER_FILE, DECODER_STEP_FILE = "encoder.onnx", "decoder_step.onnx"
WEIGHTS_FILE = "weights.bin"
CERTIFICATE_FILE, MODEL_CARD_FILE = "certificate.json", "README.md"


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Write FOLDER/manifest.json."""
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def records_of(folder: Path) -> dict[str, FileRecord]:
    """Size and hash of every file but the manifest."""
    files = sorted(path for path in folder.iterdir() if path.name != MANIFEST_FILE)
    return {path.name: FileRecord(sha256=file_sha256(path), size=path.stat().st_size) for path in files}


def weights_of(folder: Path) -> str | None:
    """The name of the file of weights; none where the graphs hold theirs."""
    return WEIGHTS_FILE if (folder / WEIGHTS_FILE).exists() else None


def sync_folder(folder: Path) -> None:
    """Force a folder's files and its entries to the disk."""
    for path in (*sorted(folder.iterdir()), folder):
        if path.is_file() or path == folder:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
