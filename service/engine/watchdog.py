"""Ends work that takes too long, and engines whose thread is gone. It does not know what the work is."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from service.model.interrupt import Interrupt

LONGEST_TICK_S = 0.5
"""Between two looks: a thread that is gone is noticed by then."""
TICKS = 10
"""Looks within the time that work may take, or more."""


class EngineHungError(Exception):
    """An engine's thread does not come back from its work."""


class EngineGoneError(Exception):
    """An engine's thread has ended without saying why."""


class Heartbeat:
    """Which piece of work a thread is at."""

    def __init__(self) -> None:
        self.interrupt = Interrupt()
        """Ends the thread's work; set only while it is overdue."""
        self._lock = threading.Lock()
        self._number = 0
        self._is_resting = True

    @property
    def work(self) -> int | None:
        """The number of the piece of work under way, None while the thread waits for some."""
        return None if self._is_resting else self._number

    def beat(self) -> None:
        """The thread begins another piece of work."""
        self._begin(is_resting=False)

    def rest(self) -> None:
        """The thread waits for work."""
        self._begin(is_resting=True)

    def end(self, work: int) -> None:
        """Interrupt that piece of work, if it is still under way."""
        with self._lock:
            if self.work == work:
                self.interrupt.set()

    def _begin(self, *, is_resting: bool) -> None:
        with self._lock:
            self._number += 1
            self._is_resting = is_resting
            self.interrupt.clear()


class Watched(Protocol):
    """What is looked after."""

    @property
    def heartbeat(self) -> Heartbeat: ...

    @property
    def is_gone(self) -> bool: ...

    def fail(self, error: BaseException) -> None: ...


@dataclass
class _Sight:
    """What an engine was last seen at, for how long in seconds, and how often that was too long."""

    work: int | None = None
    seconds: float = 0.0
    num_overdue: int = 0


class Watchdog:
    """Looks after engines from a thread of its own. `start` and `stop` once each.

    Work that has taken timeout_s is interrupted. An engine fails if it is not back after as long again, if that happens
    a second time, or if its thread is gone.
    """

    def __init__(self, engines: Sequence[Watched], *, timeout_s: float) -> None:
        self._sights = [(engine, _Sight()) for engine in engines]
        self._timeout_s = timeout_s
        self._tick_s = min(LONGEST_TICK_S, timeout_s / TICKS)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._main, name="watchdog", daemon=True)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """The thread ends within a tick."""
        self._stopped.set()

    def look(self, seconds: float) -> None:
        """Look at every engine; seconds since the last time."""
        for engine, sight in self._sights:
            if engine.is_gone:
                engine.fail(EngineGoneError("the thread has ended"))
            self._look_at(engine, sight, seconds)

    def _main(self) -> None:
        last = time.monotonic()
        while not self._stopped.wait(self._tick_s):
            now = time.monotonic()
            # Time in which the whole process stood still, this thread too, is nobody's work.
            self.look(min(now - last, 2 * self._tick_s))
            last = now

    def _look_at(self, engine: Watched, sight: _Sight, seconds: float) -> None:
        work = engine.heartbeat.work
        if work is None or work != sight.work:
            sight.work, sight.seconds = work, 0.0
            return
        was_overdue = sight.seconds >= self._timeout_s
        sight.seconds += seconds
        if sight.seconds >= self._timeout_s and not was_overdue:
            engine.heartbeat.end(work)
            sight.num_overdue += 1
            if sight.num_overdue > 1:
                engine.fail(EngineHungError("a step did not end in time, once more"))
        elif sight.seconds >= 2 * self._timeout_s:
            engine.fail(EngineHungError("a step does not end"))
