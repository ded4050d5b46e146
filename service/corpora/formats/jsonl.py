"""JSON objects, one a line: a text in one field, its translation in a field of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from service.corpora.formats.format import Fields
from service.corpora.formats.lines import decode, divide_lines, read_lines
from service.corpora.shards import Extent, Text, Translation, Unusable


class JsonLines:
    """Every object comes out as it was, byte for byte, with one field more. The field is null where there is no
    translation; a line that is no object becomes an object of that field alone."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    def divide(self, path: Path, *, max_lines: int) -> Iterator[Extent]:
        return divide_lines(path, max_lines=max_lines)

    def read(self, path: Path, extent: Extent) -> Iterator[Text]:
        for _, value in self._objects(path, extent):
            yield value if isinstance(value, Unusable) else self._text(value)

    def write(self, path: Path, extent: Extent, translations: Sequence[Translation], target: Path) -> None:
        with target.open("wb") as file:
            objects = self._objects(path, extent)
            for (line, value), translation in zip(objects, translations, strict=True):
                file.write(self._written(line, value, translation) + b"\n")

    def _objects(self, path: Path, extent: Extent) -> Iterator[tuple[str, dict[str, Any] | Unusable]]:
        """Each line and the object in it."""
        for number, line in enumerate(read_lines(path, extent)):
            text = decode(line, is_first=extent.start + number == 0)
            if isinstance(text, Unusable):
                yield "", text
            else:
                yield text, _parse(text)

    def _text(self, value: dict[str, Any]) -> Text:
        if self._fields.translation in value:
            return Unusable(f"the object has a field {self._fields.translation!r} already")
        text = value.get(self._fields.text)
        if not isinstance(text, str):
            return Unusable(f"the object has no text in the field {self._fields.text!r}")
        try:
            text.encode()
        except UnicodeEncodeError:
            return Unusable("the text has half of a surrogate pair")
        return text

    def _written(self, line: str, value: dict[str, Any] | Unusable, translation: Translation) -> bytes:
        if not isinstance(value, Unusable) and self._fields.translation in value:
            return line.encode()
        added = {self._fields.translation: None if isinstance(translation, Unusable) else translation}
        field = json.dumps(added, ensure_ascii=False)
        if isinstance(value, Unusable):
            return field.encode()
        return f"{line.rstrip()[:-1].rstrip()}{', ' if value else ''}{field[1:]}".encode()


def _parse(line: str) -> dict[str, Any] | Unusable:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return Unusable("the line is not JSON")
    return value if isinstance(value, dict) else Unusable("the line is no JSON object")
