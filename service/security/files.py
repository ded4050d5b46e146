"""Files that change while the server runs, such as certificates and tokens: read again when they do. Reading happens on
a thread of its own, so that neither the event loop nor a handshake waits for a disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import structlog

POLL_S = 1.0
"""Seconds between two looks at the files: so long a change may take to be noticed."""

_Value = TypeVar("_Value")
_log = structlog.get_logger()


class WatchedFiles(Generic[_Value]):
    """`value` is what `read` last made of the files. `start` and `stop` once each."""

    def __init__(self, paths: Sequence[Path], read: Callable[[], _Value]) -> None:
        """read raises ValueError or OSError where the files are not what they should be; so does this."""
        self._paths = tuple(paths)
        self._read = read
        self._seen = self._stamps()
        self.value = read()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watched-files", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(POLL_S)

    def refresh(self) -> None:
        """Read the files again if they have changed; what cannot be read leaves the value as it is, and is logged."""
        stamps = self._stamps()
        if stamps == self._seen:
            return
        self._seen = stamps
        names = [path.name for path in self._paths]
        try:
            self.value = self._read()
        except (ValueError, OSError) as error:
            _log.error("changed files are not used", files=names, reason=str(error))
        else:
            _log.info("changed files are used", files=names)

    def _watch(self) -> None:
        while not self._stopping.wait(POLL_S):
            self.refresh()

    def _stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        """What tells a changed file, also one that was renamed over the old one or is behind a changed link."""
        return tuple(_stamp(path) for path in self._paths)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
