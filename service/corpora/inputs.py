"""Which files a corpus has, what they are known by, and the shards that they are divided into."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from service.corpora.errors import CorpusError
from service.corpora.formats.format import SUFFIXES, Format
from service.corpora.shards import Shard


@dataclass(frozen=True)
class InputFile:
    """name is the file's own, without its folder."""

    path: Path
    num_bytes: int
    sha256: str

    @property
    def name(self) -> str:
        return self.path.name


def find_files(source: Path) -> list[Path]:
    """The file, or every file of the folder, by name, but hidden ones; raises OSError or CorpusError."""
    if source.is_dir():
        paths = sorted(path.absolute() for path in source.iterdir() if path.is_file() and path.name[0] not in "._")
        if not paths:
            raise CorpusError(f"{source} holds no file")
        return paths
    if not source.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(source))
    return [source.absolute()]


def format_of(paths: Iterable[Path]) -> str:
    """The name of the one format of all files, by their suffixes; raises CorpusError."""
    by_suffix = {suffix: name for name, suffix in SUFFIXES.items()}
    names = {by_suffix.get(path.suffix.lower(), "text") for path in paths}
    if len(names) > 1:
        raise CorpusError(f"the folder has files of several formats, {', '.join(sorted(names))}: choose with --format")
    return names.pop()


def identify(path: Path) -> InputFile:
    """Reads all of the file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return InputFile(path, file.tell(), digest)


def plan_shards(paths: Iterable[Path], form: Format, *, max_lines: int) -> Iterator[Shard]:
    """The shards of all files, in their order; none has lines of two files."""
    number = 0
    for path in paths:
        first_line = 1
        for extent in form.divide(path, max_lines=max_lines):
            yield Shard(number, str(path), first_line, extent)
            number += 1
            first_line += extent.num_lines
