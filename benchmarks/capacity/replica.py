"""One replica in simulated time: the scheduler and the admission that serve, with costs in place of a model.

Two threads share the replica's core, as in a server: the engine's, which makes step after step while it has rows, and
the event loop's, which reads requests and sends what the steps have made, first come, first served. While both have
work, each gets its share of the core; so an event loop that is behind makes every first token late, though the engine
is not.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from benchmarks.capacity.arrivals import Arrival
from benchmarks.capacity.costs import Costs
from benchmarks.capacity.meter import Meter
from service.admission.admission import Admission, AdmissionLimits
from service.admission.ticket import Claim, Size, Ticket
from service.engine.request import Decoding, Request
from service.engine.scheduler import Limits, Scheduler
from service.errors import QueueFullError

CLAIM = Claim()


@dataclass
class Clock:
    """The time of a simulation, in seconds."""

    now: float = 0.0

    def read(self) -> float:
        return self.now


@dataclass(frozen=True)
class Serving:
    """What all replicas have in common. loop_share: of a core, that the event loop gets while the engine works too."""

    costs: Costs
    limits: Limits
    admission: AdmissionLimits
    clock: Clock
    meter: Meter
    loop_share: float
    targets: dict[int, Decoding] = field(default_factory=dict)

    def decoding(self, target: int) -> Decoding:
        if target not in self.targets:
            self.targets[target] = Decoding(max_length=target)
        return self.targets[target]


@dataclass(slots=True)
class _Job:
    """One request that was admitted."""

    arrival: Arrival
    ticket: Ticket
    first_at: float = math.inf


@dataclass(slots=True)
class _Messages:
    """What a step has made: first tokens, further ones, and the last ones of some requests."""

    firsts: list[_Job]
    num_further: int
    ended: list[_Job]


class Replica:
    """`at` is when something happens next, inf while it is idle; `changed` is told when a request comes or goes."""

    def __init__(self, serving: Serving, changed: Callable[[], None]) -> None:
        self._serving = serving
        self._changed = changed
        self._scheduler = Scheduler(serving.limits)
        self._admission = Admission(serving.admission, clock=serving.clock.read)
        self._jobs: dict[int, _Job] = {}
        self._num_requests = 0
        self.at = math.inf
        self.in_flight = 0
        # the engine's thread
        self._step_left = math.inf  # seconds of the core
        self._step_began = 0.0
        self._num_steps = 0
        self._joined: list[_Job] = []
        self._ends: list[tuple[int, int]] = []  # (step, request) for every row, the first to end first
        self._ages = 0
        self._widths: dict[int, int] = {}
        # the event loop's
        self._work: deque[Arrival | _Messages] = deque()
        self._work_left = math.inf
        self._sent_at = 0.0
        self._seen = 0.0  # what is left is as of then

    def arrive(self, arrival: Arrival) -> None:
        """A request comes now."""
        self._progress(arrival.at)
        self.in_flight += 1
        self._changed()
        self._hand_over(arrival)
        self._plan()

    def advance(self) -> None:
        """What is due now: the event loop has done a piece of its work, or the engine a step."""
        is_loop = self._work_left * self._engine_rate <= self._step_left * self._loop_rate
        self._progress(self.at)
        if is_loop:
            done = self._work.popleft()
            self._work_left = self._seconds_of(self._work[0]) if self._work else math.inf
            if isinstance(done, Arrival):
                self._read(done)
            else:
                self._sent(done)
        else:
            self._stepped()
        self._plan()

    @property
    def _engine_rate(self) -> float:
        return 1.0 if math.isinf(self._work_left) else 1.0 - self._serving.loop_share

    @property
    def _loop_rate(self) -> float:
        return 1.0 if math.isinf(self._step_left) else self._serving.loop_share

    def _progress(self, now: float) -> None:
        elapsed = now - self._seen
        engine_rate, loop_rate = self._engine_rate, self._loop_rate
        self._step_left -= elapsed * engine_rate
        self._work_left -= elapsed * loop_rate
        self._seen = now

    def _plan(self) -> None:
        self.at = self._seen + max(0.0, min(self._step_left / self._engine_rate, self._work_left / self._loop_rate))

    def _hand_over(self, work: Arrival | _Messages) -> None:
        """To the event loop."""
        self._work.append(work)
        if len(self._work) == 1:
            self._work_left = self._seconds_of(work)

    def _seconds_of(self, work: Arrival | _Messages) -> float:
        serving = self._serving.costs.serving
        if isinstance(work, Arrival):
            return serving.request
        return serving.token * (len(work.firsts) + work.num_further)

    def _read(self, arrival: Arrival) -> None:
        """Admit a request, or refuse it."""
        try:
            ticket = self._admission.arrive(CLAIM)
            try:
                ticket.admit([Size(1, arrival.source)])
            except QueueFullError:
                ticket.__exit__(None, None, None)
                raise
        except QueueFullError:
            self._serving.meter.refused(arrival.at)
            self._leave()
            return
        self._num_requests += 1
        self._jobs[self._num_requests] = _Job(arrival, ticket)
        self._scheduler.submit(
            Request(
                self._num_requests,
                (0,) * arrival.source,
                self._serving.decoding(arrival.target),
                submitted_at=self._seen,
            )
        )
        if math.isinf(self._step_left):
            self._begin()

    def _begin(self) -> None:
        """Let join who may, and make a step if there are rows."""
        costs, scheduler, seconds = self._serving.costs, self._scheduler, 0.0
        if scheduler.queue_length and (joining := scheduler.schedule(self._seen).joining):
            width = max(costs.padded(len(request.source_ids)) for request in joining)
            seconds = costs.encode.seconds(len(joining), width)
            for request in joining:
                self._join(request.request_id)
        if not self._ends:
            self._step_left = math.inf
            return
        self._step_began = self._seen
        self._step_left = seconds + costs.step.seconds(len(self._ends), self._ages, max(self._widths))

    def _join(self, request_id: int) -> None:
        job = self._jobs[request_id]
        (place,) = job.ticket.places
        place.joined()
        self._joined.append(job)
        heappush(self._ends, (self._num_steps + job.arrival.target, request_id))
        width = self._serving.costs.padded(job.arrival.source)
        self._widths[width] = self._widths.get(width, 0) + 1

    def _stepped(self) -> None:
        num_rows = len(self._ends)
        self._serving.meter.stepped(self._step_began, self._seen, num_rows)
        self._num_steps += 1
        self._ages += num_rows
        ended = []
        while self._ends and self._ends[0][0] == self._num_steps:
            ended.append(self._end(heappop(self._ends)[1]))
        self._hand_over(_Messages(self._joined, num_rows - len(self._joined), ended))
        self._joined = []
        self._begin()

    def _end(self, request_id: int) -> _Job:
        """A row is free."""
        self._scheduler.finish(request_id)
        job = self._jobs.pop(request_id)
        self._ages -= job.arrival.target
        width = self._serving.costs.padded(job.arrival.source)
        self._widths[width] -= 1
        if not self._widths[width]:
            del self._widths[width]
        return job

    def _sent(self, messages: _Messages) -> None:
        meter, now = self._serving.meter, self._seen
        if messages.num_further and meter.holds(now):
            meter.gaps.add(now - self._sent_at, messages.num_further)
        self._sent_at = now
        for job in messages.firsts:
            job.first_at = now
        for job in messages.ended:
            job.ticket.__exit__(None, None, None)
            meter.done(job.arrival.at, job.first_at, now, job.arrival.target)
            self._leave()

    def _leave(self) -> None:
        self.in_flight -= 1
        self._changed()
