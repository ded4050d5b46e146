"""How many rows share a step. A step of more rows takes longer, and from some number on brings few more of them in
the same time: that knee of the throughput (Kleinrock 1979, "Power and Deterministic Rules of Thumb") is learned here.
It knows no clock."""

from __future__ import annotations

import bisect
from dataclasses import dataclass

KNEE = 0.9
"""Share of the greatest throughput that the rows at the knee must have."""
BANDS_AN_OCTAVE = 2
"""Numbers of rows are told apart to about a third."""
MEMORY = 200.0
"""Turns after which what was learned counts for a third."""
STEADINESS = 100.0
"""Turns in which the knee goes two thirds of the way to where it is found: throughputs are near each other, and times
are noisy."""
EVIDENCE = 8
"""Fewest turns that say something."""
FORGOTTEN_S = 60.0
"""Seconds after which numbers of rows that were not seen are unknown again: the machine may have changed since."""
LONGEST = 2.0
"""A turn that takes longer counts for so many times the usual: something else ran."""


class RowLimit:
    """Most rows of one engine: all of max_rows, or while it `is_at_knee` those at the knee, which is unknown until all
    rows were seen lately.

    The engine's thread teaches it. Another decides when more is asked than can be done, and rows beyond the knee would
    make everybody wait for nothing.
    """

    def __init__(self, max_rows: int) -> None:
        self.max_rows = max_rows
        self.is_at_knee = False
        self.knee = float(max_rows)
        self._edges = _edges(max_rows)
        self._bands = [_Band() for _ in self._edges]

    @property
    def num_rows(self) -> int:
        """So many rows may run before another request joins. From any thread."""
        return round(self.knee) if self.is_at_knee else self.max_rows

    def learn(self, num_rows: int, seconds: float, *, now: float) -> None:
        """A turn with a step of so many rows took so long, all that it waited for included; now in seconds."""
        self._bands[bisect.bisect_left(self._edges, num_rows)].learn(num_rows, seconds, now)
        if self.is_at_knee:
            self.knee += (self._found(now) - self.knee) / STEADINESS

    def _found(self, now: float) -> int:
        """The fewest rows with KNEE of the greatest throughput."""
        if not self._bands[-1].is_known(now):
            return self.max_rows
        pools = self._pools(now)
        most = pools[-1].rate
        return next(pool.fewest for pool in pools if pool.rate >= KNEE * most)

    def _pools(self, now: float) -> list[_Pool]:
        """More rows never bring less: bands that say so are taken together (pool adjacent violators, Ayer 1955)."""
        pools: list[_Pool] = []
        for edge, band in zip(self._edges, self._bands, strict=True):
            if band.is_known(now):
                pool = _Pool(edge, band.rows, band.seconds)
                while pools and pools[-1].rate >= pool.rate:
                    pool = pools.pop().joined(pool)
                pools.append(pool)
        return pools


@dataclass(frozen=True)
class _Pool:
    """What neighbouring bands, of `fewest` rows and more, did in so many seconds."""

    fewest: int
    rows: float
    seconds: float

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds

    def joined(self, more: _Pool) -> _Pool:
        return _Pool(self.fewest, self.rows + more.rows, self.seconds + more.seconds)


class _Band:
    """What is known of some numbers of rows."""

    def __init__(self) -> None:
        self.rows = self.seconds = 0.0
        self._turns = 0.0
        self._seen_at = 0.0

    def is_known(self, now: float) -> bool:
        return self._turns >= EVIDENCE and now - self._seen_at < FORGOTTEN_S

    def learn(self, num_rows: int, seconds: float, now: float) -> None:
        if now - self._seen_at >= FORGOTTEN_S:
            self._turns = self.rows = self.seconds = 0.0
        if self._turns >= EVIDENCE:
            seconds = min(seconds, LONGEST * self.seconds / self._turns)
        kept = 1 - 1 / MEMORY
        self._turns = self._turns * kept + 1
        self.rows = self.rows * kept + num_rows
        self.seconds = self.seconds * kept + seconds
        self._seen_at = now


def _edges(max_rows: int) -> list[int]:
    """The most rows of each band, up to max_rows."""
    edges: list[int] = []
    number = 0
    while not edges or edges[-1] < max_rows:
        edge = min(max_rows, round(2 ** (number / BANDS_AN_OCTAVE)))
        if not edges or edge > edges[-1]:
            edges.append(edge)
        number += 1
    return edges
