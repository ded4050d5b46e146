"""Files that have no name for anybody else to change them by. They do not know what they hold."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from service.model.wire import Content


def private_file(name: str, scratch: Path | None = None) -> BinaryIO:
    """Empty and unbuffered, in memory, or on the disk that has the folder `scratch`; it is gone when it is closed and
    nothing maps it."""
    if scratch is None:
        return os.fdopen(os.memfd_create(name), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0, dir=scratch)


def in_memory(name: str, content: bytes) -> BinaryIO:
    """A private file with this content.

    Of bytes, onnxruntime would keep a copy, and no thread of Python would run while it reads them.
    """
    file = private_file(name)
    write(file, content)
    return file


def write(target: BinaryIO, content: bytes) -> None:
    """All of it, to an unbuffered file."""
    rest = memoryview(content)
    while rest:
        rest = rest[target.write(rest) :]


def append(target: BinaryIO, source: BinaryIO, first: int, last: int) -> None:
    """Bytes `first` to before `last` of one unbuffered file behind what another one has, past the process's memory."""
    while first < last:
        first += os.sendfile(target.fileno(), source.fileno(), first, last - first)


@contextmanager
def mapped(file: BinaryIO) -> Iterator[Content]:
    """The content of a file; of it, what is never looked at takes no memory."""
    if os.fstat(file.fileno()).st_size == 0:
        yield b""
        return
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content
