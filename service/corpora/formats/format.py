"""What the driver and the workers ask of a format, and which formats there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from service.corpora.shards import Extent, Text, Translation

SUFFIXES = {"text": ".txt", "jsonl": ".jsonl", "parquet": ".parquet"}
"""Of the files that are written, and of input whose format nobody names; any other suffix is text."""


@dataclass(frozen=True)
class Fields:
    """Names of fields of JSON objects, or of columns: where the text stands and where its translation goes."""

    text: str = "text"
    translation: str = "translation"


class Format(Protocol):
    """Holds no file open between calls, and no more of one in memory than one extent's texts."""

    def divide(self, path: Path, *, max_lines: int) -> Iterator[Extent]:
        """The extents of a file in its order, of at most max_lines lines each; raises CorpusError for a file that is
        not of the format."""

    def read(self, path: Path, extent: Extent) -> Iterator[Text]:
        """The text of each line."""

    def write(self, path: Path, extent: Extent, translations: Sequence[Translation], target: Path) -> None:
        """Make a file of the same lines, translated."""


def open_format(name: str, fields: Fields) -> Format:
    """The format with one of the names of SUFFIXES."""
    if name == "parquet":
        from service.corpora.formats.parquet import Parquet  # its library is slow to load

        return Parquet(fields)
    if name == "jsonl":
        from service.corpora.formats.jsonl import JsonLines

        return JsonLines(fields)
    from service.corpora.formats.text import PlainText

    return PlainText()
