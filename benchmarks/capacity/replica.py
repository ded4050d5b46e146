"""One replica in simulated time: the scheduler and the admission that serve, with costs in place of a model.

Between two changes nothing is decided: the rows stay the same, and each step takes a little longer than the last, since
every row has grown by a token. So a whole series of steps is one event, which an arrival may cut short.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple

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


@dataclass
class _Job:
    """One request on its way through."""

    arrival: Arrival
    ticket: Ticket
    first_at: float = math.inf


class _Series(NamedTuple):
    """Steps of the same rows: from `start`, `number` of them, the first one `first` seconds long and each `growth`
    longer than the one before."""

    start: float
    first: float
    growth: float
    number: int

    def end_of(self, number: int) -> float:
        return self.start + number * self.first + self.growth * number * (number - 1) / 2

    @property
    def end(self) -> float:
        return self.end_of(self.number)

    def cut(self, at: float) -> _Series:
        """Up to the end of the step that runs at that time; one step at least."""
        passed = at - self.start
        if passed <= self.first:
            return self._replace(number=1)
        half = self.growth / 2
        if half * passed < 1e-9 * self.first**2:
            number = passed / self.first
        else:
            linear = self.first - half
            number = (math.sqrt(linear**2 + 4 * half * passed) - linear) / (2 * half)
        return self._replace(number=min(self.number, max(1, math.ceil(number - 1e-9))))


@dataclass(frozen=True)
class Serving:
    """What all replicas have in common."""

    costs: Costs
    limits: Limits
    admission: AdmissionLimits
    clock: Clock
    meter: Meter
    targets: dict[int, Decoding] = field(default_factory=dict)

    def decoding(self, target: int) -> Decoding:
        if target not in self.targets:
            self.targets[target] = Decoding(max_length=target)
        return self.targets[target]


class Replica:
    """`at` is when something happens next, inf while it is idle; `changed` is told when a request comes or goes."""

    def __init__(self, serving: Serving, changed: Callable[[], None]) -> None:
        self._serving = serving
        self._changed = changed
        self._scheduler = Scheduler(serving.limits)
        self._admission = Admission(serving.admission, clock=serving.clock.read)
        self._jobs: dict[int, _Job] = {}
        self._joined: list[_Job] = []
        self._ends: list[tuple[int, int]] = []  # (step, request) for every row, the first to end first
        self._widths: dict[int, int] = {}
        self._series: _Series | None = None
        self._num_steps = 0
        self._ages = 0
        self._num_requests = 0
        self._debt_s = 0.0  # what calls have cost since the last step ended
        self._stepped_at = 0.0

    @property
    def at(self) -> float:
        return math.inf if self._series is None else self._series.end

    @property
    def in_flight(self) -> int:
        return len(self._jobs)

    def arrive(self, arrival: Arrival) -> bool:
        """A request comes now; whether it is admitted."""
        serving = self._serving
        self._debt_s += serving.costs.serving.request
        try:
            ticket = self._admission.arrive(CLAIM)
        except QueueFullError:
            return False
        try:
            (place,) = ticket.admit([Size(1, arrival.source)])
        except QueueFullError:
            ticket.__exit__(None, None, None)
            return False
        self._num_requests += 1
        decoding = serving.decoding(arrival.target)
        self._scheduler.submit(
            Request(self._num_requests, (0,) * arrival.source, decoding, submitted_at=arrival.at, client=place.client)
        )
        self._jobs[self._num_requests] = _Job(arrival, ticket)
        self._changed()
        if self._series is None:
            self._begin(arrival.at)
        else:
            self._series = self._series.cut(arrival.at)
        return True

    def advance(self) -> None:
        """What is due now: a series of steps has ended."""
        assert self._series is not None
        series, meter, num_rows = self._series, self._serving.meter, len(self._ends)
        first_end, end = series.end_of(1), series.end
        if meter.holds(end):
            if num_stayed := num_rows - len(self._joined):
                meter.gaps.add(first_end - self._stepped_at, num_stayed)
            if series.number > 1:
                meter.gaps.add((end - first_end) / (series.number - 1), num_rows * (series.number - 1))
        meter.stepped(series.start, end, num_rows)
        for job in self._joined:
            job.first_at = first_end
        self._joined.clear()
        self._num_steps += series.number
        self._ages += series.number * num_rows
        self._stepped_at = end
        while self._ends and self._ends[0][0] == self._num_steps:
            self._leave(heappop(self._ends)[1], end)
        self._begin(end)

    def _begin(self, at: float) -> None:
        """Let join who may, and run until something changes."""
        start = at + self._debt_s
        self._debt_s = 0.0
        costs, scheduler = self._serving.costs, self._scheduler
        if scheduler.queue_length:
            joining = scheduler.schedule(at).joining
            width = max((costs.padded(len(request.source_ids)) for request in joining), default=0)
            if joining:
                start += costs.encode.seconds(len(joining), width)
            for request in joining:
                self._join(request)
        if not self._ends:
            self._series = None
            return
        num_rows, width = len(self._ends), max(self._widths)
        first = costs.step.seconds(num_rows, self._ages, width) + costs.serving.token * num_rows
        may_join = scheduler.queue_length > 0 and num_rows < self._serving.limits.max_slots
        number = 1 if may_join else self._ends[0][0] - self._num_steps
        self._series = _Series(start, first, costs.step.age * num_rows, number)

    def _join(self, request: Request) -> None:
        job = self._jobs[request.request_id]
        (place,) = job.ticket.places
        place.joined()
        self._joined.append(job)
        heappush(self._ends, (self._num_steps + job.arrival.target, request.request_id))
        width = self._serving.costs.padded(job.arrival.source)
        self._widths[width] = self._widths.get(width, 0) + 1

    def _leave(self, request_id: int, at: float) -> None:
        self._scheduler.finish(request_id)
        job = self._jobs.pop(request_id)
        job.ticket.__exit__(None, None, None)
        self._ages -= job.arrival.target
        width = self._serving.costs.padded(job.arrival.source)
        self._widths[width] -= 1
        if not self._widths[width]:
            del self._widths[width]
        self._serving.meter.done(job.arrival.at, job.first_at, at, job.arrival.target)
        self._changed()
