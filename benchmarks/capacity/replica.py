"""One replica in simulated time: the scheduler and the admission that serve, with costs in place of a model.

It has two threads on its core, as a server has: the engine's, which makes step after step while it has rows, and the
event loop's, which reads requests and sends what the steps have made, first come, first served. They share one
interpreter: an engine that ends a step while the event loop works goes on when that has nothing left to do, or gives
the interpreter up after SWITCH_S. It makes no step while more than the last one waits to be sent.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from benchmarks.capacity.agenda import Agenda
from benchmarks.capacity.arrivals import Arrival
from benchmarks.capacity.caller import Answer, Caller, Messages, Stream
from benchmarks.capacity.core import Core, Thread
from benchmarks.capacity.costs import Costs
from benchmarks.capacity.meter import Meter
from service.admission.admission import Admission, AdmissionLimits
from service.admission.ticket import Claim, Size, Ticket
from service.engine.request import Decoding, Request
from service.engine.row_limit import RowLimit
from service.engine.scheduler import Limits, Scheduler
from service.errors import QueueFullError

CLAIM = Claim()
SWITCH_S = sys.getswitchinterval()
"""After which a thread that runs Python gives the interpreter to one that waits for it."""


@dataclass(frozen=True)
class Serving:
    """What all replicas have in common."""

    costs: Costs
    limits: Limits
    admission: AdmissionLimits
    agenda: Agenda
    meter: Meter
    targets: dict[int, Decoding] = field(default_factory=dict)

    def decoding(self, target: int) -> Decoding:
        if target not in self.targets:
            self.targets[target] = Decoding(max_length=target)
        return self.targets[target]


@dataclass(slots=True)
class _Job:
    """One request that was admitted."""

    answer: Answer
    ticket: Ticket
    stream: Stream
    joined_at: float = 0.0


class Replica:
    """`changed` is told when a request comes or goes."""

    def __init__(self, serving: Serving, core: Core, changed: Callable[[], None]) -> None:
        self._serving = serving
        self._changed = changed
        self._row_limit = RowLimit(serving.limits.max_slots)
        self._scheduler = Scheduler(serving.limits, self._row_limit)
        self._admission = Admission(serving.admission, [self._row_limit], clock=serving.agenda.read)
        self._jobs: dict[int, _Job] = {}
        self._streams: dict[int, Stream] = {}  # by the caller's identity
        self._num_requests = 0
        self.in_flight = 0
        self._loop = Thread(core)
        self._engine = Thread(core)
        self._waiting: _Waiting | None = None
        self._is_stepping = False
        self._is_ahead = False
        self._num_unsent = 0
        self._turn_began = self._step_began = 0.0
        self._num_steps = 0
        self._joined: list[_Job] = []
        self._ends: list[tuple[int, int]] = []  # (step, request) for every row, the first to end first
        self._ages = 0
        self._widths: dict[int, int] = {}
        self._rows: dict[Stream, int] = {}

    def send(self, arrival: Arrival, caller: Caller) -> None:
        """A request is sent here now."""
        self.in_flight += 1
        self._changed()
        caller.send(lambda: self._work(self._serving.costs.serving.request, lambda: self._read(arrival, caller)))

    def _work(self, seconds: float, done: Callable[[], None]) -> None:
        """For the event loop."""

        def then() -> None:
            done()
            if self._waiting is not None and not self._loop.pieces:
                self._waiting.end()

        self._loop.add(seconds, then)

    def _read(self, arrival: Arrival, caller: Caller) -> None:
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
        stream = self._streams.setdefault(id(caller), Stream(caller, self._serving.meter))
        self._jobs[self._num_requests] = _Job(Answer(arrival), ticket, stream)
        decoding = self._serving.decoding(arrival.target)
        now = self._serving.agenda.now
        self._scheduler.submit(Request(self._num_requests, (0,) * arrival.source, decoding, submitted_at=now))
        if not self._is_stepping:
            self._is_stepping = True
            self._turn_began = now
            self._begin()

    def _begin(self) -> None:
        """Let join who may, and make a step if there are rows."""
        costs, scheduler, seconds = self._serving.costs, self._scheduler, 0.0
        now = self._serving.agenda.now
        if scheduler.queue_length and (joining := scheduler.schedule(now).joining):
            width = max(costs.padded(len(request.source_ids)) for request in joining)
            seconds = costs.encode.seconds(len(joining), width)
            for request in joining:
                self._join(request.request_id)
        if not self._ends:
            self._is_stepping = False
            return
        self._step_began = now
        seconds += costs.step.seconds(len(self._ends), self._ages, max(self._widths)) + costs.serving.step
        self._engine.add(seconds, self._stepped)

    def _join(self, request_id: int) -> None:
        job = self._jobs[request_id]
        (place,) = job.ticket.places
        place.joined()
        job.joined_at = self._serving.agenda.now
        self._joined.append(job)
        self._rows[job.stream] = self._rows.get(job.stream, 0) + 1
        arrival = job.answer.arrival
        heappush(self._ends, (self._num_steps + arrival.target, request_id))
        width = self._serving.costs.padded(arrival.source)
        self._widths[width] = self._widths.get(width, 0) + 1

    def _stepped(self) -> None:
        """The engine has made a step; it needs the interpreter to go on."""
        if self._loop.pieces:
            self._waiting = _Waiting(self._serving.agenda, self._deliver)
        else:
            self._deliver()

    def _deliver(self) -> None:
        self._waiting = None
        num_rows = len(self._ends)
        now = self._serving.agenda.now
        self._serving.meter.stepped(self._step_began, now, num_rows)
        self._row_limit.learn(num_rows, now - self._turn_began, now=now)
        self._turn_began = now
        self._num_steps += 1
        self._ages += num_rows
        made = {stream: Messages([], rows, []) for stream, rows in self._rows.items() if rows}
        for job in self._joined:
            made[job.stream].firsts.append(job.answer)
        for messages in made.values():
            messages.num_further -= len(messages.firsts)
        self._joined = []
        ended: list[_Job] = []
        while self._ends and self._ends[0][0] == self._num_steps:
            ended.append(self._end(heappop(self._ends)[1]))
            made[ended[-1].stream].ended.append(ended[-1].answer)
        self._num_unsent += 1
        self._work(self._serving.costs.serving.token * num_rows, lambda: self._sent(made, ended))
        self._is_ahead = self._num_unsent > 1
        if not self._is_ahead:
            self._begin()

    def _end(self, request_id: int) -> _Job:
        """A row is free."""
        self._scheduler.finish(request_id)
        job = self._jobs.pop(request_id)
        (place,) = job.ticket.places
        place.served(self._serving.agenda.now - job.joined_at)
        self._rows[job.stream] -= 1
        arrival = job.answer.arrival
        self._ages -= arrival.target
        width = self._serving.costs.padded(arrival.source)
        self._widths[width] -= 1
        if not self._widths[width]:
            del self._widths[width]
        return job

    def _sent(self, made: dict[Stream, Messages], ended: list[_Job]) -> None:
        for stream, messages in made.items():
            stream.caller.receive(stream, messages)
        for job in ended:
            job.ticket.__exit__(None, None, None)
            self._leave()
        self._num_unsent -= 1
        if self._is_ahead and self._num_unsent == 1:
            self._is_ahead = False
            self._begin()

    def _leave(self) -> None:
        self.in_flight -= 1
        self._changed()


class _Waiting:
    """An engine that waits for the interpreter, at most SWITCH_S."""

    def __init__(self, agenda: Agenda, then: Callable[[], None]) -> None:
        self.at = agenda.now + SWITCH_S
        self._then = then
        agenda.put(self)

    def end(self) -> None:
        self.at = math.inf
        self._then()

    advance = end
