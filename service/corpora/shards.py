"""The pieces of a corpus that are translated and written each as a whole. Plain values."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True)
class Extent:
    """A part of one file, from `start` to before `stop`: bytes of a file of lines, rows of a table."""

    start: int
    stop: int
    num_lines: int


@dataclass(frozen=True)
class Shard:
    """One file of the output. number counts from 0 over the whole corpus; path is of the input file, first_line the
    number in it, from 1, of the first line."""

    number: int
    path: str
    first_line: int
    extent: Extent

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        values = json.loads(text)
        return cls(**values | {"extent": Extent(**values["extent"])})


@dataclass(frozen=True)
class Record:
    """What is known of a shard that is written: its file in the output folder and that file's SHA-256, how many lines
    it has, how many of them could not be translated, tokens that were made, when that began (of the epoch) and how
    long it took, in seconds."""

    shard: int
    source: str
    first_line: int
    num_lines: int
    num_errors: int
    num_tokens: int
    file: str
    sha256: str
    started_at: float
    seconds: float

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Unusable:
    """A line that has no translation, and why."""

    reason: str


Text = str | Unusable
"""What a line of the input asks to be translated."""
Translation = str | Unusable
"""What has become of it."""
