"""Files that nobody else has a name for, or may open. They do not know what they hold."""

from __future__ import annotations

import fcntl
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from service.model.wire import Content

_FOLDERS = ".stepstream-loading-"


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


@contextmanager
def private_folder(scratch: Path | None = None) -> Iterator[Path]:
    """An empty folder of this user alone, in `scratch` or where temporary files are; it and what is in it are gone at
    the end, and what is mapped then stays mapped."""
    forget_dead_folders(scratch)
    with tempfile.TemporaryDirectory(prefix=_FOLDERS, dir=scratch) as name, _locked(Path(name)):
        yield Path(name)


def forget_dead_folders(scratch: Path | None = None) -> None:
    """Remove private folders of this user with files in them whose process has been killed."""
    for folder in Path(scratch or tempfile.gettempdir()).glob(f"{_FOLDERS}*"):
        with suppress(OSError), _locked(folder):
            if folder.stat().st_uid == os.geteuid() and any(folder.iterdir()):
                shutil.rmtree(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Raises OSError where another process has it, which the system ends with that process."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
