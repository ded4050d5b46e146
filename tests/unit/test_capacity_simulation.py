"""A simulated replica does what two threads on one core do, and many of them share a
load as balancers share it."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterator, Sequence

import pytest

from benchmarks.capacity.agenda import Agenda
from benchmarks.capacity.arrivals import Arrival, Bursts, bursty, poisson
from benchmarks.capacity.balancing import BALANCERS
from benchmarks.capacity.caller import FarCaller
from benchmarks.capacity.core import Core, Thread
from benchmarks.capacity.costs import Costs, EncodeCost, ServingCost, StepCost
from benchmarks.capacity.meter import Meter, Target
from benchmarks.capacity.planning import Promise, replicas_needed
from benchmarks.capacity.replica import SWITCH_S, Replica, Serving
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
    serving=ServingCost(step=2e-4, token=1e-4, request=5e-4),
    client=ServingCost(step=5e-5, token=3e-5, request=2e-4),
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


def in_events(arrivals: Sequence[Arrival]) -> Times:
    """As the simulation does it, on one replica that refuses nothing."""
    agenda, recorder = Agenda(), Recorder()
    settings = Settings(max_queue_wait_s=1e9, max_queue_length=10**6, max_queue_tokens=10**9)
    serving = Serving(COSTS, LIMITS, settings.admission_limits, agenda, recorder)
    replica, caller = Replica(serving, Core(agenda), lambda: None), FarCaller(agenda)
    for arrival in arrivals:
        agenda.run(arrival.at)
        replica.send(arrival, caller)
    agenda.run(math.inf)
    assert replica.in_flight == 0
    return recorder.times


class Slices:
    """The same in slices of time, which the event loop and the engine share evenly, while it does not wait to go on."""

    def __init__(self, arrivals: Sequence[Arrival]) -> None:
        self.scheduler = Scheduler(LIMITS)
        self.coming, self.known, self.made = deque(arrivals), dict[int, Arrival](), dict[int, int]()
        self.work = deque[list[float]]()  # seconds left, then a request's number below 0 or a step's tokens'
        self.step_left, self.made_at = 0.0, math.inf  # an engine that has made a step waits from then on
        self.at, self.times = 0.0, Times()

    def run(self) -> Times:
        while self.coming or self.scheduler.has_work or self.work:
            while self.coming and self.coming[0].at <= self.at:
                self.known[len(self.known) + 1] = self.coming.popleft()
                self.work.append([COSTS.serving.request, -len(self.known)])
            if self.step_left <= 0 and math.isinf(self.made_at):
                self.begin()
            both = bool(self.work) and self.step_left > 0
            self.at += SLICE_S
            if self.step_left > 0:
                self.step_left -= SLICE_S / (1 + both)
                if self.step_left <= 0:
                    self.made_at = self.at
            if self.work:
                self.work[0][0] -= SLICE_S / (1 + both)
                self.loop_ends()
            if self.at - self.made_at >= SWITCH_S or (self.made_at <= self.at and not self.work):
                self.step_ends()
        return self.times

    def begin(self) -> None:
        if joining := self.scheduler.schedule(self.at).joining:
            width = max(COSTS.padded(len(request.source_ids)) for request in joining)
            self.step_left += COSTS.encode.seconds(len(joining), width)
            self.made |= dict.fromkeys((request.request_id for request in joining), 0)
        if self.made:
            width = max(COSTS.padded(self.known[number].source) for number in self.made)
            self.step_left += COSTS.step.seconds(len(self.made), sum(self.made.values()), width) + COSTS.serving.step

    def step_ends(self) -> None:
        self.made_at = math.inf
        self.work.append([COSTS.serving.token * len(self.made), *self.made])
        self.made = {number: tokens + 1 for number, tokens in self.made.items()}
        for number in [number for number, tokens in self.made.items() if tokens == self.known[number].target]:
            del self.made[number]
            self.scheduler.finish(number)

    def loop_ends(self) -> None:
        while self.work and self.work[0][0] <= 0:
            _, *numbers = self.work.popleft()
            for number in map(int, numbers):
                arrival = self.known[abs(number)]
                if number > 0:
                    self.times[arrival.at] = self.times.get(arrival.at, (self.at, self.at))[0], self.at
                else:
                    decoding = Decoding(max_length=arrival.target)
                    self.scheduler.submit(Request(-number, (0,) * arrival.source, decoding, submitted_at=self.at))


@pytest.mark.parametrize("load", [0.3, 0.6, 0.9], ids=lambda load: f"load {load:g}")
def test_events_come_when_two_threads_that_share_a_core_come_to_them(load: float) -> None:
    arrivals = list(poisson(load * FULL, 40 / (load * FULL), COSTS.sizes, seed=7))
    found, expected = in_events(arrivals), Slices(arrivals).run()
    assert len(found) == len(arrivals)
    assert found.keys() == expected.keys()
    for which in (0, 1):
        waits = [times[which] - at for at, times in sorted(found.items())]
        others = [expected[at][which] - at for at in sorted(found)]
        assert statistics.mean(waits) == pytest.approx(statistics.mean(others), rel=0.05)
        assert max(waits) == pytest.approx(max(others), rel=0.1)


def ends(*pieces: tuple[int, float, float]) -> list[float]:
    """When each piece of work of a core's threads has ended: (thread, when it comes, seconds)."""
    agenda = Agenda()
    core = Core(agenda)
    threads = [Thread(core) for _ in range(3)]
    ended = [math.nan] * len(pieces)
    for number, (thread, at, seconds) in enumerate(pieces):
        agenda.run(at)

        def done(number: int = number) -> None:
            ended[number] = agenda.now

        threads[thread].add(seconds, done)
    agenda.run(math.inf)
    assert core.busy_s == pytest.approx(sum(seconds for _, _, seconds in pieces))
    return ended


def test_threads_that_want_a_core_share_it_evenly() -> None:
    assert ends((0, 0.0, 10.0), (1, 1.0, 1.0)) == pytest.approx([11.0, 3.0])
    assert ends((0, 0.0, 10.0), (1, 9.0, 3.0)) == pytest.approx([11.0, 13.0])
    assert ends((0, 0.0, 6.0), (1, 0.0, 6.0), (2, 0.0, 1.0)) == pytest.approx([13.0, 13.0, 3.0])


def test_a_thread_alone_does_its_work_as_it_comes() -> None:
    assert ends((0, 0.0, 2.0), (0, 1.0, 2.0), (0, 10.0, 3.0)) == pytest.approx([2.0, 4.0, 13.0])


def test_work_behind_other_work_of_a_thread_has_no_share_of_its_own() -> None:
    assert ends((0, 0.0, 1.0), (0, 0.0, 1.0), (1, 0.0, 2.0)) == pytest.approx([2.0, 4.0, 4.0])


def test_a_replica_alone_sends_a_token_while_it_makes_the_next() -> None:
    read_s, token_s = COSTS.serving.request, COSTS.serving.token
    encode_s, step_s = COSTS.encode.seconds(1, 16), COSTS.step.seconds(1, 0, 16) + COSTS.serving.step
    assert token_s < step_s
    [(first, last)] = in_events([Arrival(1.0, 10, 2)]).values()
    assert first == pytest.approx(1.0 + read_s + encode_s + step_s + 2 * token_s, abs=1e-9)
    assert last == pytest.approx(1.0 + read_s + encode_s + 2 * step_s + COSTS.step.age + 2 * token_s)


@pytest.mark.parametrize("read_s", [3e-3, 30e-3], ids=["the event loop has read it", "its turn is over"])
def test_an_engine_waits_for_an_interpreter_that_the_event_loop_is_using(read_s: float) -> None:
    """While the second request is read the first one's step ends, and is sent after that."""
    costs = COSTS.model_copy(update={"serving": ServingCost(step=0.0, token=1e-4, request=read_s)})
    agenda, recorder = Agenda(), Recorder()
    serving = Serving(costs, LIMITS, Settings().admission_limits, agenda, recorder)
    core, caller = Core(agenda), FarCaller(agenda)
    replica = Replica(serving, core, lambda: None)
    for at in (1.0, 1.0 + read_s / 2):
        agenda.run(at)
        replica.send(Arrival(at, 10, 2), caller)
    agenda.run(math.inf)
    step_s = costs.encode.seconds(1, 16) + costs.step.seconds(1, 0, 16)
    both_s = 2 * read_s + step_s
    other_s = costs.encode.seconds(1, 16) + costs.step.seconds(2, 1, 16)
    assert step_s < read_s / 4
    first, last = recorder.times[1.0]
    assert first == pytest.approx(1.0 + both_s + 1e-4 + (1e-4 if read_s < SWITCH_S else 0), abs=other_s)
    assert last > 1.0 + both_s


def test_callers_on_the_cores_of_replicas_take_their_time() -> None:
    arrivals = list(poisson(0.4 * 2 * FULL, 3.0, COSTS.sizes, seed=3))

    def first(near: bool) -> float:
        plan = Plan(2, "round-robin", near_callers=near)
        return simulate(plan, COSTS, arrivals, seconds=3.0).first_tokens.percentile(0.5)

    spent = COSTS.client.request + COSTS.client.step + COSTS.client.token
    assert first(near=True) > first(near=False) + spent


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
    assert least <= two < turns


def test_the_admission_that_serves_refuses_what_a_replica_cannot_bear() -> None:
    costs = COSTS.model_copy(update={"serving": ServingCost(step=0.0, token=1e-6, request=1e-5)})
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
