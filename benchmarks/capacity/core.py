"""One processor in simulated time, which the threads that want it share evenly (processor sharing, Kleinrock 1967).

That is what a scheduler gives which lets a thread that has slept run almost at once: Linux's EEVDF, where each thread
then waits in proportion to what it runs.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from benchmarks.capacity.agenda import Agenda


class Thread:
    """Does its pieces of work one after the other; made for one core."""

    __slots__ = ("_core", "ends", "pieces")

    def __init__(self, core: Core) -> None:
        self._core = core
        self.pieces: deque[tuple[float, Callable[[], None]]] = deque()
        """Seconds of the core, and what happens once they are spent."""
        self.ends = 0.0
        """When the first piece is done, in seconds that each thread has had of the core."""

    def add(self, seconds: float, done: Callable[[], None]) -> None:
        """A piece of work, behind the others, from now on."""
        self._core.add(self, seconds, done)


class Core:
    """`at` is when a piece of work ends."""

    def __init__(self, agenda: Agenda) -> None:
        self.at = math.inf
        self.busy_s = 0.0
        """Seconds that it has worked."""
        self._agenda = agenda
        self._running: list[Thread] = []
        self._each = 0.0  # seconds that a thread would have had that always ran
        self._seen = 0.0  # all is as of then

    def add(self, thread: Thread, seconds: float, done: Callable[[], None]) -> None:
        self._progress()
        thread.pieces.append((seconds, done))
        if len(thread.pieces) == 1:
            thread.ends = self._each + seconds
            self._running.append(thread)
            self._plan()

    def advance(self) -> None:
        """The first piece of a thread is done."""
        self._progress()
        thread = min(self._running, key=_ends)
        self._each = thread.ends
        _, done = thread.pieces.popleft()
        if thread.pieces:
            thread.ends += thread.pieces[0][0]
        else:
            self._running.remove(thread)
        done()
        self._plan()

    def _progress(self) -> None:
        elapsed = self._agenda.now - self._seen
        self._seen = self._agenda.now
        if self._running:
            self._each += elapsed / len(self._running)
            self.busy_s += elapsed

    def _plan(self) -> None:
        """At every change, after what has passed is counted."""
        self.at = math.inf
        if self._running:
            left = min(thread.ends for thread in self._running) - self._each
            self.at = self._seen + max(0.0, left) * len(self._running)
            self._agenda.put(self)


def _ends(thread: Thread) -> float:
    return thread.ends
