"""What a simulation saw, in little memory however many tokens there were."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

FINEST_S = 1e-6
BINS_A_DOUBLING = 48
"""A bin is 1.5 % wide."""
NUM_BINS = 48 * 30


class Durations:
    """A histogram of seconds whose bins are equally wide in their logarithms, from a microsecond to a quarter hour."""

    def __init__(self) -> None:
        self._counts = [0] * NUM_BINS

    def add(self, seconds: float, weight: int = 1) -> None:
        number = int(BINS_A_DOUBLING * math.log2(max(seconds, FINEST_S) / FINEST_S))
        self._counts[min(number, NUM_BINS - 1)] += weight

    def __len__(self) -> int:
        return sum(self._counts)

    def percentile(self, share: float) -> float:
        """Of the bin that has it, the middle; nan where there is nothing."""
        cumulated = np.cumsum(self._counts)
        if not cumulated[-1]:
            return math.nan
        number = int(np.searchsorted(cumulated, share * cumulated[-1]))
        return float(FINEST_S * 2 ** ((number + 0.5) / BINS_A_DOUBLING))


@dataclass(frozen=True)
class Target:
    """What a request is promised, in seconds: its first token, and the mean time between those that follow."""

    first_token_s: float = math.inf
    gap_s: float = math.inf


@dataclass
class Meter:
    """Counts the requests that come from `start` to `end`, in seconds; of these `num_good` kept to the target."""

    start: float
    end: float
    target: Target
    first_tokens: Durations = field(default_factory=Durations)
    gaps: Durations = field(default_factory=Durations)
    num_arrived: int = 0
    num_refused: int = 0
    num_done: int = 0
    num_good: int = 0
    num_tokens: int = 0
    row_seconds: float = 0.0
    busy_seconds: float = 0.0
    core_seconds: float = 0.0
    """That all cores worked, the time to warm up included, until the last request came."""

    def holds(self, at: float) -> bool:
        return self.start <= at < self.end

    def arrived(self, at: float) -> None:
        """A request comes."""
        self.num_arrived += self.holds(at)

    def refused(self, arrived_at: float) -> None:
        """A request is not admitted."""
        self.num_refused += self.holds(arrived_at)

    def done(self, arrived_at: float, first_at: float, last_at: float, num_tokens: int) -> None:
        """A translation is complete."""
        if not self.holds(arrived_at):
            return
        self.num_done += 1
        self.num_tokens += num_tokens
        first_s = first_at - arrived_at
        self.first_tokens.add(first_s)
        gap_s = (last_at - first_at) / max(1, num_tokens - 1)
        self.num_good += first_s <= self.target.first_token_s and gap_s <= self.target.gap_s

    def stepped(self, start: float, end: float, num_rows: int) -> None:
        """An engine ran steps of so many rows."""
        inside = min(end, self.end) - max(start, self.start)
        if inside > 0:
            self.busy_seconds += inside
            self.row_seconds += inside * num_rows
