"""How many replicas a promise takes: the fewest with which a simulation keeps it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from benchmarks.capacity.arrivals import Arrival
from benchmarks.capacity.costs import Costs
from benchmarks.capacity.meter import Meter
from benchmarks.capacity.simulation import Plan, simulate

MOST_SEARCHED = 64
"""A larger number of replicas is searched for on so many, with as much less of the arrivals, and then tried in full."""
STEP_SHARE = 0.01
"""Of the replicas, that are added while the whole does not keep the promise."""
GROWTH = 1.4
"""Of the number of replicas, until the promise is kept."""
FULL_ROWS = 32
"""Rows with which a replica does nearly as much as it ever can."""

Load = Callable[[float], Iterable[Arrival]]
"""The arrivals, thinned to a share (0 to 1) of them."""


@dataclass(frozen=True)
class Promise:
    """p99 of the time to the first token and of the gaps between tokens, in seconds; the share of requests that may be
    refused; the share of requests that must be answered within both."""

    first_token_s: float
    gap_s: float
    refused: float = 0.001
    good: float = 0.99

    def is_kept(self, meter: Meter) -> bool:
        return (
            meter.first_tokens.percentile(0.99) <= self.first_token_s
            and meter.gaps.percentile(0.99) <= self.gap_s
            and meter.num_refused <= self.refused * meter.num_arrived
            and meter.num_good >= self.good * meter.num_arrived
        )


def replicas_needed(plan: Plan, costs: Costs, load: Load, promise: Promise, *, rate: float, seconds: float) -> Plan:
    """The plan with as many replicas as keep the promise for `rate` requests a second on average. Raises ValueError
    where no number does, since a request alone takes longer."""

    def keeps(number: int, share: float) -> bool:
        meter = simulate(replace(plan, num_replicas=number), costs, load(share), seconds=seconds)
        return promise.is_kept(meter)

    fewest = max(1, math.floor(rate * costs.request_seconds(FULL_ROWS)))
    share = min(1.0, MOST_SEARCHED / (2 * fewest))
    low, high = 0, max(2, math.ceil(share * fewest))
    while not keeps(high, share):
        if high > 64 * max(1.0, share * fewest):
            raise ValueError("no number of replicas keeps this promise: a request alone takes too long")
        low, high = high, math.ceil(GROWTH * high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if keeps(middle, share) else (middle, high)
    number = math.ceil(high / share)
    while share < 1.0 and not keeps(number, 1.0):
        number += max(1, math.ceil(STEP_SHARE * number))
    return replace(plan, num_replicas=number)
