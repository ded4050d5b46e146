"""Whether the event loop breathes: a beat that is due ten times a second, and how late it comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

INTERVAL_S = 0.1


class LoopMonitor:
    """`start` and `stop` on the loop; `lag_s` from any thread."""

    def __init__(self, on_lag: Callable[[float], None]) -> None:
        """on_lag hears of every beat's delay, in seconds, on the loop."""
        self._on_lag = on_lag
        self._due_at = float("inf")
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to watch the running loop."""
        self._schedule(asyncio.get_running_loop())

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due_at = float("inf")

    def lag_s(self) -> float:
        """How long the next beat is overdue; 0 while it is not, and for a loop that is not watched."""
        return max(0.0, time.monotonic() - self._due_at)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._on_lag(self.lag_s())
        self._schedule(loop)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due_at = time.monotonic() + INTERVAL_S
        self._timer = loop.call_later(INTERVAL_S, self._beat, loop)
