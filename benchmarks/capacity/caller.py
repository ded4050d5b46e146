"""Who sends requests and sees their tokens come. It knows what both cost it, and nothing of how they are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from benchmarks.capacity.agenda import Agenda
from benchmarks.capacity.arrivals import Arrival
from benchmarks.capacity.core import Core, Thread
from benchmarks.capacity.costs import ServingCost
from benchmarks.capacity.meter import Meter


@dataclass(slots=True)
class Answer:
    """What has come of one request."""

    arrival: Arrival
    first_at: float = 0.0


@dataclass(slots=True)
class Messages:
    """What one step of a replica has made for one caller: first tokens, further ones, and the last ones of some
    requests."""

    firsts: list[Answer]
    num_further: int
    ended: list[Answer]


class Stream:
    """What comes from one replica to one caller, one step after the other."""

    __slots__ = ("_meter", "_seen_at", "caller")

    def __init__(self, caller: Caller, meter: Meter) -> None:
        self.caller = caller
        self._meter = meter
        self._seen_at = 0.0

    def seen(self, messages: Messages, now: float) -> None:
        """The caller has them."""
        meter = self._meter
        if messages.num_further and meter.holds(now):
            meter.gaps.add(now - self._seen_at, messages.num_further)
        self._seen_at = now
        for answer in messages.firsts:
            answer.first_at = now
        for answer in messages.ended:
            meter.done(answer.arrival.at, answer.first_at, now, answer.arrival.target)


class Caller(Protocol):
    def send(self, arrive: Callable[[], None]) -> None:
        """A request: it arrives once it is sent."""

    def receive(self, stream: Stream, messages: Messages) -> None:
        """What a replica has sent."""


class FarCaller:
    """On a machine of its own, which is fast enough."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda

    def send(self, arrive: Callable[[], None]) -> None:
        arrive()

    def receive(self, stream: Stream, messages: Messages) -> None:
        stream.seen(messages, self._agenda.now)


class NearCaller:
    """A process on a core that replicas work on too."""

    def __init__(self, agenda: Agenda, core: Core, cost: ServingCost) -> None:
        self._agenda = agenda
        self._thread = Thread(core)
        self._cost = cost

    def send(self, arrive: Callable[[], None]) -> None:
        self._thread.add(self._cost.request, arrive)

    def receive(self, stream: Stream, messages: Messages) -> None:
        def seen() -> None:
            stream.seen(messages, self._agenda.now)

        num_messages = len(messages.firsts) + messages.num_further
        self._thread.add(self._cost.step + self._cost.token * num_messages, seen)
