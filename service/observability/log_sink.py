"""Where log lines go: a bounded queue and a thread that writes. Whoever logs never waits for the one who reads."""

from __future__ import annotations

import os
import select
import threading
import time

MAX_LINES = 4096
"""Lines that wait while nobody reads; further ones are dropped and counted."""
GATHER_S = 0.02
"""How long the thread lets lines come together, so that it seldom takes the interpreter from those who work."""
_POLL_S = 0.01


class LogSink:
    """Writes lines to a file descriptor, which it borrows. A file to `structlog.PrintLogger` and to `logging`'s stream
    handlers. `close` once."""

    def __init__(self, descriptor: int, *, max_lines: int = MAX_LINES) -> None:
        self._descriptor = descriptor
        self._max_lines = max_lines
        self._lock = threading.Lock()
        self._lines: list[bytes] = []
        self._num_taken = 0
        self._has_lines = threading.Event()
        self._is_closing = threading.Event()
        self.num_dropped = 0
        """Lines that were not written, since too many waited or the descriptor refused them."""
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def write(self, text: str) -> int:
        """Whole lines, from any thread."""
        with self._lock:
            if len(self._lines) + self._num_taken < self._max_lines:
                self._lines.append(text.encode("utf-8", "backslashreplace"))
            else:
                self.num_dropped += 1
        if not self._has_lines.is_set():
            self._has_lines.set()
        return len(text)

    def flush(self) -> None:
        """Nothing waits for a line to be written."""

    def close(self, *, timeout_s: float) -> bool:
        """Write what waits; False where that is not done in time. The thread is then left behind."""
        self._is_closing.set()
        deadline = time.monotonic() + timeout_s
        while (is_left := bool(self._lines or self._num_taken)) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return not is_left

    def _write_all(self) -> None:
        while True:
            self._has_lines.wait()
            self._is_closing.wait(GATHER_S)
            self._has_lines.clear()
            with self._lock:
                lines, self._lines = self._lines, []
                self._num_taken = len(lines)
            while lines:
                group, lines = _cut(lines)
                try:
                    _write(self._descriptor, b"".join(group))
                except OSError:
                    with self._lock:
                        self.num_dropped += len(group)
                with self._lock:
                    self._num_taken = len(lines)


def _cut(lines: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """The first lines that a pipe takes in one piece, at least one, and the rest: processes that share a pipe do not
    write into each other's lines."""
    size = number = 0
    for line in lines:
        size += len(line)
        if number and size > select.PIPE_BUF:
            break
        number += 1
    return lines[:number], lines[number:]


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
