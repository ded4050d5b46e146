"""Whether more is asked than can be done. It knows no clock."""

from __future__ import annotations

import math

HALF_LIFE_S = 1.0
"""Seconds after which a request counts half."""
EVIDENCE = 8.0
"""Fewest requests lately that say something."""


class RefusedShare:
    """Of the requests that came lately, those that were refused."""

    def __init__(self) -> None:
        self._refused = self._all = 0.0
        self._at = -math.inf

    def count(self, *, is_refused: bool, now: float) -> None:
        """One more request came."""
        kept = math.exp2((self._at - now) / HALF_LIFE_S)
        self._refused = self._refused * kept + is_refused
        self._all = self._all * kept + 1
        self._at = now

    @property
    def value(self) -> float:
        """0 to 1, as of the last request; 0 of too few."""
        return self._refused / self._all if self._all >= EVIDENCE else 0.0
