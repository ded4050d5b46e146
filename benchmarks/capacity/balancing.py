"""Which replica gets the next request. Each knows how many requests every replica has, and nothing else of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import cycle
from typing import Protocol

from benchmarks.capacity.replica import Replica


class Balancer(Protocol):
    """Chooses by number."""

    def choose(self) -> int: ...

    def changed(self, number: int) -> None:
        """A request has come to a replica, or has left it."""


class RoundRobin:
    """One after the other, as gRPC's clients do."""

    def __init__(self, replicas: Sequence[Replica], seed: int) -> None:  # noqa: ARG002
        self._numbers = cycle(range(len(replicas)))

    def choose(self) -> int:
        return next(self._numbers)

    def changed(self, number: int) -> None:
        """It does not matter."""


class TwoChoices:
    """Of two at random the one with fewer requests (Mitzenmacher 2001), as Envoy's least request does."""

    def __init__(self, replicas: Sequence[Replica], seed: int) -> None:
        self._replicas = replicas
        self._chance = random.Random(seed)

    def choose(self) -> int:
        one, other = (int(self._chance.random() * len(self._replicas)) for _ in range(2))
        return one if self._replicas[one].in_flight <= self._replicas[other].in_flight else other

    def changed(self, number: int) -> None:
        """It looks when it chooses."""


class LeastRequest:
    """The one with the fewest requests of all, any of them where there are several."""

    def __init__(self, replicas: Sequence[Replica], seed: int) -> None:
        self._replicas = replicas
        self._chance = random.Random(seed)
        self._order = [(0, self._chance.random(), number) for number in range(len(replicas))]
        self._order.sort()

    def choose(self) -> int:
        while self._order[0][0] != self._replicas[self._order[0][2]].in_flight:
            heappop(self._order)  # out of date: there is a newer entry
        return self._order[0][2]

    def changed(self, number: int) -> None:
        heappush(self._order, (self._replicas[number].in_flight, self._chance.random(), number))


BALANCERS: dict[str, Callable[[Sequence[Replica], int], Balancer]] = {
    "round-robin": RoundRobin,
    "two-choices": TwoChoices,
    "least-request": LeastRequest,
}
