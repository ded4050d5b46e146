"""What an import compares, and how much of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from export.imports.original import Ask, Translation
from export.imports.packed import Packed
from service.model.text import Source

BEAM_SIZE = 4
LONGEST_COMPARED = 64
"""Tokens of a target that is compared with the library's own."""
MANY_PARAMETERS = 50_000_000
"""From here on fewer rows and lengths are measured: each costs seconds, and a row the logits of a large vocabulary."""
MOST_ROWS, FEW_ROWS = 64, 16


@dataclass(frozen=True)
class Compared:
    """Sentences, as both read them, what the library made of them, and the targets of our beam search, by folder."""

    asks: Sequence[Ask]
    sources: Sequence[Source]
    originals: Sequence[Translation]
    beams: Mapping[Path, list[list[int]]]
    length: int


def is_large(packed: Packed) -> bool:
    return packed.num_elements > MANY_PARAMETERS


def most_rows(packed: Packed) -> int:
    """That share a step of the graphs."""
    return FEW_ROWS if is_large(packed) else MOST_ROWS
