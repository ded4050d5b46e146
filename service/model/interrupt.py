"""How one thread ends the graph runs of another. It does not know what runs."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar


class Interrupt:
    """Belongs to the thread that runs graphs; once `set`, the run under way and every later one ends until `clear`."""

    def __init__(self) -> None:
        self._is_set = False
        self._end_run: Callable[[], None] | None = None

    @property
    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        """From any thread."""
        self._is_set = True
        if (end_run := self._end_run) is not None:
            end_run()

    def clear(self) -> None:
        """Runs may begin again."""
        self._is_set = False

    def begin(self, end_run: Callable[[], None]) -> None:
        """A run begins, which end_run ends from whatever thread; it does so now where this is set already. Afterwards
        it must be harmless."""
        self._end_run = end_run
        if self._is_set:
            end_run()


current_interrupt: ContextVar[Interrupt | None] = ContextVar("current_interrupt", default=None)
"""What ends the runs of this thread, if anything may."""
