"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = "*.unfinished"


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A name beside the path for a file that the block makes: it takes the path's place when the block ends, safe from
    a loss of power, and vanishes when the block fails. Two that make the same file do not meet."""
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}.unfinished")
    try:
        yield unfinished
        _sync(unfinished)
        unfinished.replace(path)
        _sync(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """What was left by makers that were killed."""
    for path in folder.glob(UNFINISHED):
        path.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """A file of this text, or what there was before."""
    with appearing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def append_line(path: Path, line: str) -> None:
    """One more line, on the disk when this returns; a kill leaves at most a part of it, without its end."""
    with path.open("ab") as file:
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
