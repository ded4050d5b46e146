"""Where log lines go: a bounded queue and a thread that writes. Whoever logs never waits for the one who reads."""

from __future__ import annotations

import os
import queue
import threading
import time

MAX_LINES = 4096
"""Lines that wait while nobody reads; further ones are dropped and counted."""
_POLL_S = 0.01


class LogSink:
    """Writes lines to a file descriptor, which it borrows. A file to `structlog.PrintLogger` and to `logging`'s stream
    handlers. `close` once."""

    def __init__(self, descriptor: int, *, max_lines: int = MAX_LINES) -> None:
        self._descriptor = descriptor
        self._lines: queue.Queue[str] = queue.Queue(max_lines)
        self._lock = threading.Lock()
        self.num_dropped = 0
        """Lines that were not written, since too many waited or the descriptor refused them."""
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def write(self, text: str) -> int:
        """Whole lines, from any thread."""
        try:
            self._lines.put_nowait(text)
        except queue.Full:
            self._drop()
        return len(text)

    def flush(self) -> None:
        """Nothing waits for a line to be written."""

    def close(self, *, timeout_s: float) -> bool:
        """Write what waits; False where that is not done in time. The thread is then left behind."""
        deadline = time.monotonic() + timeout_s
        while self._lines.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return not self._lines.unfinished_tasks

    def _write_all(self) -> None:
        while True:
            line = self._lines.get()
            try:
                _write(self._descriptor, line.encode("utf-8", "backslashreplace"))
            except OSError:
                self._drop()
            self._lines.task_done()

    def _drop(self) -> None:
        with self._lock:
            self.num_dropped += 1


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
