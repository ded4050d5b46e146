"""What is due when, in simulated time: the first comes first."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Protocol


class Due(Protocol):
    """`at` is when something happens next, inf for never; it may change while it waits."""

    at: float

    def advance(self) -> None:
        """What happens then."""


@dataclass
class Agenda:
    """The time of a simulation, in seconds, and all that will happen in it."""

    now: float = 0.0
    _due: list[tuple[float, int, Due]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)

    def read(self) -> float:
        return self.now

    def put(self, due: Due) -> None:
        """Whenever its time has changed."""
        if due.at < math.inf:
            heappush(self._due, (due.at, next(self._order), due))

    def run(self, until: float) -> None:
        """All that is due until then."""
        while self._due and self._due[0][0] <= until:
            at, _, due = heappop(self._due)
            if due.at != at:
                continue  # it has come to be due at another time
            self.now = at
            due.advance()
        self.now = until if until < math.inf else self.now
