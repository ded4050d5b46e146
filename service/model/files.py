"""Reads the files of one version's folder without ever following a link. It does not know what they are."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from service.model.errors import BundleError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Without waiting, so that a named pipe that nobody writes to opens at once and is refused."""
PIECE = 2**20
"""Bytes that are read at a time."""


class PlainFolder:
    """A folder that holds plain files alone: no links, symbolic or hard, no folders, pipes or devices.

    It stays the same folder, whatever is renamed meanwhile. Use it as `with`.
    """

    def __init__(self, path: Path) -> None:
        """Neither PATH nor the folder that it lies in may be a symbolic link; raises BundleError."""
        self.path = path
        with _explained(f"{path}: the folder cannot be read, or is a link"):
            parent = os.open(path.parent, _FOLDER)
            try:
                self._descriptor = os.open(path.name, _FOLDER, dir_fd=parent)
            finally:
                os.close(parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def names(self) -> list[str]:
        """Of everything in the folder; raises BundleError."""
        with _explained(f"{self.path}: the folder cannot be read"):
            return sorted(os.listdir(self._descriptor))  # noqa: PTH208

    def read(self, name: str, *, most: int) -> bytes:
        """A plain file of at most so many bytes; raises BundleError."""
        return b"".join(self.pieces(name, most=most))

    def pieces(self, name: str, *, most: int) -> Iterator[bytes]:
        """As `read`, one piece after another, so that nothing large is held."""
        with _explained(f"{self.path}: {name} is missing or not a plain file"):
            descriptor = os.open(name, _FILE, dir_fd=self._descriptor)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise BundleError(f"{self.path}: {name} is missing or not a plain file")
            if status.st_nlink > 1:
                raise BundleError(f"{self.path}: {name} has another name too, and is not this version's alone")
            size = status.st_size
            with (
                _explained(f"{self.path}: {name} cannot be read"),
                open(descriptor, "rb", buffering=0, closefd=False) as file,
            ):
                read = 0
                while size <= most and (piece := file.read(PIECE)):
                    yield piece
                    read += len(piece)
                    size = max(size, read)
            if size > most:
                raise BundleError(f"{self.path}: {name} has {size} bytes, at most {most} are read")
        finally:
            os.close(descriptor)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BundleError(f"{what}: {error.strerror}") from error
