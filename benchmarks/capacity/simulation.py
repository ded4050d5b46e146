"""Many replicas at once: arrivals go to replicas by a balancer, and each replica works as it would."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

from benchmarks.capacity.agenda import Agenda
from benchmarks.capacity.arrivals import Arrival
from benchmarks.capacity.balancing import BALANCERS, Balancer
from benchmarks.capacity.caller import Caller, FarCaller, NearCaller
from benchmarks.capacity.core import Core
from benchmarks.capacity.costs import Costs
from benchmarks.capacity.meter import Meter, Target
from benchmarks.capacity.replica import Replica, Serving
from service.engine.scheduler import Limits
from service.settings import Settings

WARM_UP_SHARE = 0.2
"""Of the time of all arrivals, at its beginning, that is not counted."""


@dataclass(frozen=True)
class Plan:
    """Replicas, each on a core, and how requests come to them. near_callers: whether those who call are on the same
    cores, a process on each, and not on machines of their own. settings: those of the servers, of which the limits
    count."""

    num_replicas: int
    balancing: str = "two-choices"
    near_callers: bool = False
    target: Target = field(default_factory=Target)
    settings: Settings = field(default_factory=Settings)


def simulate(plan: Plan, costs: Costs, arrivals: Iterable[Arrival], *, seconds: float, seed: int = 0) -> Meter:
    """What became of all requests that came in so many seconds; those that still run then are ended in peace."""
    agenda, meter = Agenda(), Meter(WARM_UP_SHARE * seconds, seconds, plan.target)
    settings = plan.settings
    limits = Limits(settings.max_slots, settings.max_encode_tokens, costs.length_multiple)
    serving = Serving(costs, limits, settings.admission_limits, agenda, meter)
    cores = [Core(agenda) for _ in range(plan.num_replicas)]
    balancers: list[Balancer] = []

    def changed(number: int) -> None:
        for balancer in balancers:
            balancer.changed(number)

    replicas = [Replica(serving, core, partial(changed, number)) for number, core in enumerate(cores)]
    callers: list[Caller] = [FarCaller(agenda)]
    if plan.near_callers:
        callers = [NearCaller(agenda, core, costs.client) for core in cores]
    balancers += [BALANCERS[plan.balancing](replicas, seed + number) for number in range(len(callers))]
    for number, arrival in enumerate(arrivals):
        agenda.run(arrival.at)
        meter.arrived(arrival.at)
        each = number % len(callers)
        replicas[balancers[each].choose()].send(arrival, callers[each])
    meter.core_seconds = sum(core.busy_s for core in cores)
    agenda.run(math.inf)
    return meter
