"""What an import has done by processes of their own, one after another. Each loads what it needs: torch is in none that
only waits, reads texts or runs graphs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from export.imports.compared import Compared
from export.imports.original import Ask
from export.imports.packed import Packed
from service.model.manifest import Manifest
from service.model.text import Source


def write_float32(folder: Path, packed: Packed, name: str, version: int) -> Manifest:
    from export.imports.imported import unpacked
    from export.imports.write import write_fp32

    return write_fp32(folder, unpacked(packed), name, version)


def write_int8(folder: Path, float32_folder: Path, packed: Packed, name: str, version: int) -> Manifest:
    from export.imports.imported import unpacked
    from export.imports.write import write_int8

    return write_int8(folder, float32_folder, unpacked(packed), name, version)


def read_sources(manifest: Manifest, folder: Path, asks: Sequence[Ask]) -> tuple[list[Ask], list[Source]]:
    from export.imports.sources import read_sources

    return read_sources(manifest, folder, asks)


def record(packed: Packed, manifest: Manifest, files: Sequence[Path]) -> None:
    from export.imports.record import record_outputs

    record_outputs(packed, manifest, files)


def measure(packed: Packed, compared: Compared, folder: Path, float32_folder: Path, expected: Sequence[Path]) -> None:
    from export.imports.measure import measure

    measure(packed, compared, folder, float32_folder, expected)


def replay(folder: Path) -> None:
    from export.version_files import CERTIFICATE_FILE
    from service.model.certificate import read_certificate, replay
    from service.model.onnx_model import OnnxModel

    replay(OnnxModel(folder, scratch=folder.parent), read_certificate(folder / CERTIFICATE_FILE))
