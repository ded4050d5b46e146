"""Many replicas at once: arrivals go to replicas by a balancer, and each replica works as it would."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush

from benchmarks.capacity.arrivals import Arrival
from benchmarks.capacity.balancing import BALANCERS, Balancer
from benchmarks.capacity.costs import Costs
from benchmarks.capacity.meter import Meter, Target
from benchmarks.capacity.replica import Clock, Replica, Serving
from service.engine.scheduler import Limits
from service.settings import Settings

WARM_UP_SHARE = 0.2
"""Of the time of all arrivals, at its beginning, that is not counted."""


@dataclass(frozen=True)
class Plan:
    """Replicas, and how requests come to them. loop_share: of its core, that a replica's event loop gets while its
    engine works too: half, as two threads share a core. settings: those of the servers, of which the limits count."""

    num_replicas: int
    balancing: str = "two-choices"
    loop_share: float = 0.5
    target: Target = field(default_factory=Target)
    settings: Settings = field(default_factory=Settings)


def simulate(plan: Plan, costs: Costs, arrivals: Iterable[Arrival], *, seconds: float, seed: int = 0) -> Meter:
    """What became of all requests that came in so many seconds; those that still run then are ended in peace."""
    clock, meter = Clock(), Meter(WARM_UP_SHARE * seconds, seconds, plan.target)
    settings = plan.settings
    limits = Limits(settings.max_slots, settings.max_encode_tokens, costs.length_multiple)
    serving = Serving(costs, limits, settings.admission_limits(1), clock, meter, plan.loop_share)
    replicas: list[Replica] = []
    balancer: Balancer
    replicas.extend(
        Replica(serving, partial(lambda number: balancer.changed(number), number))
        for number in range(plan.num_replicas)
    )
    balancer = BALANCERS[plan.balancing](replicas, seed)
    due: list[tuple[float, int]] = []
    for arrival in arrivals:
        _advance(replicas, due, clock, until=arrival.at)
        clock.now = arrival.at
        meter.arrived(arrival.at)
        number = balancer.choose()
        replica = replicas[number]
        before = replica.at
        replica.arrive(arrival)
        if replica.at != before:
            heappush(due, (replica.at, number))
    _advance(replicas, due, clock, until=math.inf)
    return meter


def _advance(replicas: list[Replica], due: list[tuple[float, int]], clock: Clock, *, until: float) -> None:
    while due and due[0][0] <= until:
        at, number = heappop(due)
        replica = replicas[number]
        if replica.at != at:
            continue  # it has come to be due at another time
        clock.now = at
        replica.advance()
        if replica.at < math.inf:
            heappush(due, (replica.at, number))
