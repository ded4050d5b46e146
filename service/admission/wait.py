"""How long the queue takes, learned from those that have waited. It knows no clock."""

from __future__ import annotations

import math

HALF_LIFE_S = 2.0
"""Seconds after which what was learned counts half."""
EVIDENCE = 4.0
"""Fewest requests that must have waited lately, so that something can be said."""


class WaitEstimate:
    """Seconds for each unit of work ahead: the sum of waits over the sum of work, recent ones weighing more. That holds
    whatever the queue waits for: rows, encoding, or the interpreter."""

    def __init__(self) -> None:
        self._seconds = self._work = self._number = 0.0
        self._at = -math.inf

    def learn(self, work: float, seconds: float, *, now: float) -> None:
        """A request has waited so long behind so much work, its own included."""
        kept = self._kept(now)
        self._seconds = self._seconds * kept + seconds
        self._work = self._work * kept + work
        self._number = self._number * kept + 1
        self._at = now

    def seconds(self, work: float, *, now: float) -> float | None:
        """How long work takes to leave the queue; None where too little is known."""
        if self._number * self._kept(now) < EVIDENCE:
            return None
        return work * self._seconds / self._work

    def _kept(self, now: float) -> float:
        return math.exp2((self._at - now) / HALF_LIFE_S)
