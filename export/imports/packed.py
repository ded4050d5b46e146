"""What an import has found out, in the hands of processes that do not have torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from export.imports.library import Library


@dataclass(frozen=True)
class Packed:
    """What is known of an `export.imports.imported.Imported` without unpacking it. files: of its weights, which are
    `num_elements` numbers. content: for `unpacked`."""

    folder: Path
    architecture_name: str
    library: Library
    files: tuple[Path, ...]
    num_elements: int
    content: bytes = field(repr=False)
