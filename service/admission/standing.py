"""Tells a queue that stands from one that a burst has made (Nichols and Jacobson 2012; Maurer 2015, "Fail at Scale").
It knows no clock."""

from __future__ import annotations


class Standing:
    """Times in seconds. A queue stands once it has not been empty for longer than `burst_s`; that it is empty for less
    than `pause_s` does not count, or a server that is offered too much would take a burst again and again."""

    def __init__(self, *, burst_s: float, pause_s: float) -> None:
        self._burst_s = burst_s
        self._pause_s = pause_s
        self._since = 0.0
        self._emptied_at: float | None = float("-inf")

    def filled(self, now: float) -> None:
        """Something waits, and nothing did before."""
        if self._emptied_at is not None and now - self._emptied_at >= self._pause_s:
            self._since = now
        self._emptied_at = None

    def emptied(self, now: float) -> None:
        """Nothing waits any more."""
        self._emptied_at = now

    def is_so(self, now: float) -> bool:
        """Whether what comes now would find a queue that stands."""
        if self._emptied_at is not None and now - self._emptied_at >= self._pause_s:
            return False
        return now - self._since > self._burst_s
