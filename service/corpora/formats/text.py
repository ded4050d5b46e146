"""Plain text, a sentence a line, as `stepstream translate --file` reads and writes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from service.corpora.formats.lines import decode, divide_lines, read_lines
from service.corpora.shards import Extent, Text, Translation, Unusable


class PlainText:
    """A line that has no translation becomes an empty line."""

    def divide(self, path: Path, *, max_lines: int) -> Iterator[Extent]:
        return divide_lines(path, max_lines=max_lines)

    def read(self, path: Path, extent: Extent) -> Iterator[Text]:
        for number, line in enumerate(read_lines(path, extent)):
            yield decode(line, is_first=extent.start + number == 0)

    def write(self, path: Path, extent: Extent, translations: Sequence[Translation], target: Path) -> None:  # noqa: ARG002
        with target.open("wb") as file:
            for translation in translations:
                text = "" if isinstance(translation, Unusable) else " ".join(translation.splitlines())
                file.write(text.encode() + b"\n")
