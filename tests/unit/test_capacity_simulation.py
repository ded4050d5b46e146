"""A simulated replica does what two threads on one core do, and many of them share a load as balancers share it."""

from __future__ import annotations

import math
import statistics
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
LIMITS = Limits(Settings().max_slots, Settings().max_encode_tokens, COSTS.length_multiple)
SLICE_S = 2e-6
Times = dict[float, tuple[float, float]]
"""When the first and the last token of each request were sent, by when it came."""


class Recorder(Meter):
    """Remembers every request by when it came."""

    def __init__(self) -> None:
        super().__init__(0.0, math.inf, Target())
        self.times: Times = {}

    def done(self, arrived_at: float, first_at: float, last_at: float, num_tokens: int) -> None:
        self.times[arrived_at] = first_at, last_at


def in_events(arrivals: Sequence[Arrival], loop_share: float = 0.5) -> Times:
    """As the simulation does it, on one replica that refuses nothing."""
    clock, recorder = Clock(), Recorder()
    settings = Settings(max_queue_wait_s=1e9, max_queue_length=10**6, max_queue_tokens=10**9)
    serving = Serving(COSTS, LIMITS, settings.admission_limits(1), clock, recorder, loop_share)
    replica = Replica(serving, lambda: None)
    for arrival in (*arrivals, None):
        until = math.inf if arrival is None else arrival.at
        while replica.at < math.inf and replica.at <= until:
            clock.now = replica.at
            replica.advance()
        if arrival is not None:
            clock.now = arrival.at
            replica.arrive(arrival)
    assert replica.in_flight == 0
    return recorder.times


def in_slices(arrivals: Sequence[Arrival], loop_share: float) -> Times:  # noqa: C901
    """The same in slices of time, in each of which both threads do their part."""
    scheduler = Scheduler(LIMITS)
    coming, known, made = deque(arrivals), dict[int, Arrival](), dict[int, int]()
    work = deque[list[float]]()  # seconds left, then a request's number below 0 or those of a step's tokens
    step_left, at, times = 0.0, 0.0, Times()
    while coming or scheduler.has_work or work:
        while coming and coming[0].at <= at:
            known[len(known) + 1] = coming.popleft()
            work.append([COSTS.serving.request, -len(known)])
        if step_left <= 0 and scheduler.has_work:
            if joining := scheduler.schedule(at).joining:
                width = max(COSTS.padded(len(request.source_ids)) for request in joining)
                step_left += COSTS.encode.seconds(len(joining), width)
                made |= dict.fromkeys((request.request_id for request in joining), 0)
            width = max(COSTS.padded(known[number].source) for number in made)
            step_left += COSTS.step.seconds(len(made), sum(made.values()), width)
        both = bool(work) and step_left > 0
        if work:
            work[0][0] -= SLICE_S * (loop_share if both else 1.0)
        if step_left > 0:
            step_left -= SLICE_S * (1.0 - loop_share if both else 1.0)
            if step_left <= 0:
                work.append([COSTS.serving.token * len(made), *made])
                made = {number: tokens + 1 for number, tokens in made.items()}
                for number in [number for number, tokens in made.items() if tokens == known[number].target]:
                    del made[number]
                    scheduler.finish(number)
        at += SLICE_S
        while work and work[0][0] <= 0:
            _, *numbers = work.popleft()
            for number in map(int, numbers):
                arrival = known[abs(number)]
                if number > 0:
                    times[arrival.at] = times.get(arrival.at, (at, at))[0], at
                else:
                    decoding = Decoding(max_length=arrival.target)
                    scheduler.submit(Request(-number, (0,) * arrival.source, decoding, submitted_at=at))
    return times


@pytest.mark.parametrize("loop_share", [0.5, 0.75])
@pytest.mark.parametrize("load", [0.3, 0.9, 1.5], ids=lambda load: f"load {load:g}")
def test_events_come_when_two_threads_that_share_a_core_come_to_them(load: float, loop_share: float) -> None:
    arrivals = list(poisson(load * FULL, 40 / (load * FULL), COSTS.sizes, seed=7))
    found, expected = in_events(arrivals, loop_share), in_slices(arrivals, loop_share)
    assert len(found) == len(arrivals)
    assert found.keys() == expected.keys()
    for which in (0, 1):
        waits = [times[which] - at for at, times in sorted(found.items())]
        others = [expected[at][which] - at for at in sorted(found)]
        assert statistics.mean(waits) == pytest.approx(statistics.mean(others), rel=0.05)
        assert max(waits) == pytest.approx(max(others), rel=0.1)


def test_a_replica_alone_sends_a_token_while_it_makes_the_next() -> None:
    read_s, token_s = COSTS.serving.request, COSTS.serving.token
    encode_s, step_s = COSTS.encode.seconds(1, 16), COSTS.step.seconds(1, 0, 16)
    [(first, last)] = in_events([Arrival(1.0, 10, 2)]).values()
    assert first == pytest.approx(1.0 + read_s + encode_s + step_s + 2 * token_s)
    assert last == pytest.approx(1.0 + read_s + encode_s + 2 * step_s + COSTS.step.age + 2 * token_s)


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
    costs = COSTS.model_copy(update={"serving": ServingCost(token=1e-6, request=1e-5)})
    arrivals = poisson(3 / costs.request_seconds(64), 10.0, costs.sizes, seed=3)
    meter = simulate(Plan(1), costs, arrivals, seconds=10.0)
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
