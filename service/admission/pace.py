"""How many seconds work takes, learned from what has been done. It knows no clock."""

from __future__ import annotations

import math

EVIDENCE = 4.0
"""Fewest requests lately, so that something can be said."""


class Pace:
    """Seconds for each unit of work: the sum of seconds over the sum of work, recent requests weighing more."""

    def __init__(self, *, half_life_s: float) -> None:
        """half_life_s: seconds after which what was learned counts half."""
        self._half_life_s = half_life_s
        self._seconds = self._work = self._number = 0.0
        self._at = -math.inf

    def learn(self, work: float, seconds: float, *, now: float) -> None:
        """So much work took so long."""
        kept = self._kept(now)
        self._seconds = self._seconds * kept + seconds
        self._work = self._work * kept + work
        self._number = self._number * kept + 1
        self._at = now

    def seconds(self, work: float, *, now: float) -> float | None:
        """How long work takes; None where too little is known."""
        if self._number * self._kept(now) < EVIDENCE:
            return None
        return work * self._seconds / self._work

    def _kept(self, now: float) -> float:
        return math.exp2((self._at - now) / self._half_life_s)
