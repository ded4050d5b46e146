"""A simulated replica does what a server does step by step, and many of them share a load as balancers share it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence

import pytest

from benchmarks.capacity.arrivals import Arrival, Bursts, bursty, poisson
from benchmarks.capacity.balancing import BALANCERS
from benchmarks.capacity.costs import Costs, EncodeCost, ServingCost, StepCost
from benchmarks.capacity.meter import Meter, Target
from benchmarks.capacity.planning import Promise, replicas_needed
from benchmarks.capacity.replica import Clock, Replica, Serving
from benchmarks.capacity.simulation import Plan, simulate
from service.engine.request import Decoding, Request
from service.engine.scheduler import Limits, Scheduler
from service.settings import Settings

COSTS = Costs(
    model="model",
    machine="machine",
    length_multiple=16,
    step=StepCost(fixed=2e-4, row=2e-5, age=1e-6, source=3e-7),
    encode=EncodeCost(fixed=3e-4, token=5e-6, pair=1e-8),
    serving=ServingCost(token=1e-4, request=5e-4),
    sizes=((12, 14), (15, 17), (40, 45), (9, 1), (20, 25)),
)
FULL = 1 / COSTS.request_seconds(32)
"""Requests a second that fill one replica."""
Times = dict[Arrival, tuple[float, float]]
"""When the first and the last token of each request were made."""


class Recorder(Meter):
    """Remembers every request."""

    def __init__(self) -> None:
        super().__init__(0.0, math.inf, Target())
        self.times: Times = {}
        self.pending: list[Arrival] = []

    def done(self, arrived_at: float, first_at: float, last_at: float, num_tokens: int) -> None:
        (arrival,) = [one for one in self.pending if one.at == arrived_at]
        self.times[arrival] = first_at, last_at


def in_series(arrivals: Sequence[Arrival], max_slots: int) -> Times:
    """As the simulation does it."""
    clock, recorder = Clock(), Recorder()
    settings = Settings(max_slots=max_slots, max_queue_wait_s=1e9, max_queue_length=10**6, max_queue_tokens=10**9)
    serving = Serving(COSTS, limits_of(settings), settings.admission_limits(1), clock, recorder)
    replica = Replica(serving, lambda: None)

    def advance(until: float) -> None:
        while replica.at <= until < math.inf or (until == math.inf and replica.at < math.inf):
            clock.now = replica.at
            replica.advance()

    for arrival in arrivals:
        advance(arrival.at)
        clock.now = arrival.at
        recorder.pending.append(arrival)
        assert replica.arrive(arrival)
    advance(math.inf)
    assert replica.in_flight == 0
    return recorder.times


def limits_of(settings: Settings) -> Limits:
    return Limits(settings.max_slots, settings.max_encode_tokens, COSTS.length_multiple)


def step_by_step(arrivals: Sequence[Arrival], max_slots: int) -> Times:
    """As an engine does it: what has come is submitted, the scheduler is asked, one step is made, again and again."""
    scheduler = Scheduler(limits_of(Settings(max_slots=max_slots)))
    coming, known, made = deque(arrivals), dict[int, Arrival](), dict[int, int]()
    firsts, times = dict[int, float](), Times()
    at = 0.0
    while coming or scheduler.has_work:
        if not scheduler.has_work:
            at = max(at, coming[0].at)
        start = at
        while coming and coming[0].at <= at:
            arrival = coming.popleft()
            known[len(known)] = arrival
            decoding = Decoding(max_length=arrival.target)
            scheduler.submit(Request(len(known) - 1, (0,) * arrival.source, decoding, submitted_at=arrival.at))
            start += COSTS.serving.request
        if joining := scheduler.schedule(at).joining:
            width = max(COSTS.padded(len(request.source_ids)) for request in joining)
            start += COSTS.encode.seconds(len(joining), width)
            made |= dict.fromkeys((request.request_id for request in joining), 0)
        width = max(COSTS.padded(known[number].source) for number in made)
        at = start + COSTS.step.seconds(len(made), sum(made.values()), width) + COSTS.serving.token * len(made)
        for number in list(made):
            made[number] += 1
            firsts.setdefault(number, at)
            if made[number] == known[number].target:
                del made[number]
                scheduler.finish(number)
                times[known[number]] = firsts[number], at
    return times


@pytest.mark.parametrize("load", [0.3, 0.9, 2.0], ids=lambda load: f"load {load:g}")
@pytest.mark.parametrize("max_slots", [3, 64])
def test_series_of_steps_end_when_single_steps_do(load: float, max_slots: int) -> None:
    arrivals = list(poisson(load * FULL, 1.0, COSTS.sizes, seed=7))
    assert len(arrivals) > 20
    found, expected = in_series(arrivals, max_slots), step_by_step(arrivals, max_slots)
    assert found.keys() == expected.keys()
    for arrival, times in expected.items():
        assert found[arrival] == pytest.approx(times, abs=1e-9)


def test_a_replica_alone_makes_a_token_a_step() -> None:
    arrival = Arrival(1.0, 10, 3)
    first_s = 5e-4 + 3e-4 + 16 * (5e-6 + 16e-8) + 2e-4 + 2e-5 + 16 * 3e-7 + 1e-4
    [(first, last)] = in_series([arrival], 64).values()
    assert first == pytest.approx(1.0 + first_s)
    assert last == pytest.approx(first + 2 * (2e-4 + 2e-5 + 16 * 3e-7 + 1e-4) + 3e-6)


@pytest.mark.parametrize("balancing", sorted(BALANCERS))
def test_every_request_is_done_once_or_refused(balancing: str) -> None:
    arrivals = list(poisson(4 * FULL, 1.0, COSTS.sizes, seed=1))
    meter = simulate(Plan(5, balancing), COSTS, arrivals, seconds=1.0)
    counted = sum(meter.holds(arrival.at) for arrival in arrivals)
    assert meter.num_arrived == counted == meter.num_done + meter.num_refused
    assert meter.num_refused == 0


def test_balancing_by_requests_is_better_than_taking_turns() -> None:
    def worst_first_token(balancing: str) -> float:
        arrivals = poisson(0.9 * 20 * FULL, 2.0, COSTS.sizes, seed=2)
        return simulate(Plan(20, balancing), COSTS, arrivals, seconds=2.0).first_tokens.percentile(0.99)

    turns, two, least = map(worst_first_token, ("round-robin", "two-choices", "least-request"))
    assert least < two < turns


def test_the_admission_that_serves_refuses_what_a_replica_cannot_bear() -> None:
    arrivals = poisson(3 * FULL, 10.0, COSTS.sizes, seed=3)
    meter = simulate(Plan(1), COSTS, arrivals, seconds=10.0)
    assert 0.5 < meter.num_refused / meter.num_arrived < 0.8
    assert meter.first_tokens.percentile(0.99) < 2 * Settings().max_queue_wait_s


def test_bursts_need_more_replicas_than_the_same_rate_without() -> None:
    promise = Promise(first_token_s=0.02, gap_s=0.02)
    rate, seconds = 3 * FULL, 8.0

    def needed(bursts: Bursts) -> int:
        def load(share: float) -> Iterator[Arrival]:
            return bursty(share * rate, seconds, COSTS.sizes, bursts, seed=4)

        plan = Plan(1, target=Target(promise.first_token_s, promise.gap_s))
        return replicas_needed(plan, COSTS, load, promise, rate=rate, seconds=seconds).num_replicas

    calm, rough = needed(Bursts(factor=1.0)), needed(Bursts(factor=4.0, share=0.25, mean_s=0.5))
    assert 3 < calm < rough


def test_the_replicas_needed_keep_the_promise_and_one_fewer_does_not() -> None:
    promise = Promise(first_token_s=0.02, gap_s=0.02)
    rate, seconds = 3 * FULL, 4.0

    def load(share: float) -> list[Arrival]:
        return list(poisson(share * rate, seconds, COSTS.sizes, seed=5))

    plan = replicas_needed(Plan(1, target=Target(0.02, 0.02)), COSTS, load, promise, rate=rate, seconds=seconds)
    assert promise.is_kept(simulate(plan, COSTS, load(1.0), seconds=seconds))
    fewer = Plan(plan.num_replicas - 1, target=plan.target)
    assert not promise.is_kept(simulate(fewer, COSTS, load(1.0), seconds=seconds))


def test_a_promise_that_one_request_alone_breaks_is_refused() -> None:
    with pytest.raises(ValueError, match="a request alone takes too long"):
        replicas_needed(
            Plan(1),
            COSTS,
            lambda share: poisson(share * FULL, 1.0, COSTS.sizes, seed=6),
            Promise(first_token_s=1e-4, gap_s=1.0),
            rate=FULL,
            seconds=1.0,
        )
