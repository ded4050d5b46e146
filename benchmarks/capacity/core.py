"""One processor in simulated time, which threads share in turns as an operating system lets them.

The thread that has had least of the core comes next, and keeps it until it has no more work, or, where others wait, for
`turn_s` seconds. A thread that slept has no claim to what it did not use. So Linux's fair schedulers do it (EEVDF, and
CFS before it): what wakes up does not take the core from a thread in the middle of its turn.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from benchmarks.capacity.agenda import Agenda


class Thread:
    """Does its pieces of work one after the other; made for one core."""

    __slots__ = ("_core", "left", "pieces", "spent")

    def __init__(self, core: Core) -> None:
        self._core = core
        self.pieces: deque[tuple[float, Callable[[], None]]] = deque()
        """Seconds of the core, and what happens once they are spent."""
        self.left = 0.0
        """Seconds of the first piece."""
        self.spent = 0.0
        """Of the core, by this thread, what it has slept through included."""

    def add(self, seconds: float, done: Callable[[], None]) -> None:
        """A piece of work, behind the others, from now on."""
        self._core.add(self, seconds, done)

    @property
    def is_busy(self) -> bool:
        return bool(self.pieces)

    @property
    def is_inside(self) -> bool:
        """Whether it has begun a piece and not ended it."""
        return bool(self.pieces) and self.left < self.pieces[0][0]


class Core:
    """`at` is when a piece of work or a turn ends."""

    def __init__(self, agenda: Agenda, turn_s: float) -> None:
        self.at = math.inf
        self._agenda = agenda
        self._turn_s = turn_s
        self._ready: list[Thread] = []
        self._running: Thread | None = None
        self._turn = 0.0  # seconds that the running thread has had of its turn
        self._seen = 0.0  # all is as of then

    def add(self, thread: Thread, seconds: float, done: Callable[[], None]) -> None:
        self._progress()
        thread.pieces.append((seconds, done))
        if len(thread.pieces) == 1:
            thread.left = seconds
            if thread not in self._ready:
                self._wake(thread)
        self._plan()

    def advance(self) -> None:
        """The running thread has done a piece, or had its turn."""
        self.at = math.inf
        self._progress()
        running = self._running
        assert running is not None
        if running.left <= self._turn_left:
            _, done = running.pieces.popleft()
            if running.pieces:
                running.left = running.pieces[0][0]
            done()
            if not running.pieces:
                self._ready.remove(running)
                self._choose()
        else:
            self._choose()
        self._plan()

    @property
    def _turn_left(self) -> float:
        return self._turn_s - self._turn if len(self._ready) > 1 else math.inf

    def _wake(self, thread: Thread) -> None:
        if self._ready:
            thread.spent = max(thread.spent, min(other.spent for other in self._ready))
            if len(self._ready) == 1:
                self._turn %= self._turn_s  # alone, it had one turn after the other
        self._ready.append(thread)
        if self._running is None:
            self._choose()

    def _choose(self) -> None:
        self._running = min(self._ready, key=lambda thread: thread.spent, default=None)
        self._turn = 0.0

    def _progress(self) -> None:
        elapsed = self._agenda.now - self._seen
        self._seen = self._agenda.now
        if self._running is not None:
            self._running.left -= elapsed
            self._running.spent += elapsed
            self._turn += elapsed

    def _plan(self) -> None:
        at = math.inf
        if self._running is not None:
            at = self._seen + max(0.0, min(self._running.left, self._turn_left))
        if at != self.at:
            self.at = at
            self._agenda.put(self)
