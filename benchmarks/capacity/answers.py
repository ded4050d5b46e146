"""Answers the question of somebody who plans: what would requests see, or how many replicas do they need."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from benchmarks.capacity.arrivals import Arrival, Bursts, Sizes, bursty, multiplied, recorded
from benchmarks.capacity.costs import Costs
from benchmarks.capacity.meter import Meter, Target
from benchmarks.capacity.planning import Promise, replicas_needed
from benchmarks.capacity.simulation import Plan, simulate
from benchmarks.report import Table

FEWEST_BURSTS = 5
"""That are expected in all seconds; with fewer there may be none at all."""


class Load(Protocol):
    """Arrivals: in words, how long they go on, how many a second on average."""

    @property
    def words(self) -> str: ...

    @property
    def seconds(self) -> float: ...

    @property
    def rate(self) -> float: ...

    def scaled(self, factor: float) -> Iterator[Arrival] | Sequence[Arrival]:
        """So many times as many of them, in the same time and as much in bursts."""


@dataclass(frozen=True)
class Arrivals:
    """Poisson, or in bursts; requests are as large as those that were measured. Too few bursts raise ValueError."""

    rate: float
    seconds: float
    sizes: Sizes
    bursts: Bursts
    names_rate: bool = True

    @property
    def words(self) -> str:
        rate = f"{self.rate:,g} requests/s, " if self.names_rate else ""
        if self.bursts.factor == 1.0:
            return f"{rate}Poisson"
        return (
            f"{rate}{self.bursts.factor:g} times as many in bursts of {self.bursts.mean_s:g} s, "
            f"{self.bursts.share:.0%} of the time"
        )

    def scaled(self, factor: float) -> Iterator[Arrival]:
        if self.bursts.factor != 1.0 and self.seconds * self.bursts.share < FEWEST_BURSTS * self.bursts.mean_s:
            raise ValueError(f"so few seconds hold fewer than {FEWEST_BURSTS} bursts: more seconds, or shorter bursts")
        return bursty(factor * self.rate, self.seconds, self.sizes, self.bursts, seed=1)


@dataclass(frozen=True)
class Recording:
    """What a server logged, or a table, played `speed` times as fast."""

    path: Path
    sizes: Sizes
    speed: float

    @cached_property
    def _arrivals(self) -> list[Arrival]:
        return recorded(self.path, self.sizes, speed=self.speed)

    @property
    def seconds(self) -> float:
        return max(self._arrivals[-1].at, 1e-9)

    @property
    def rate(self) -> float:
        return len(self._arrivals) / self.seconds

    @property
    def words(self) -> str:
        return f"{self.path.stem}: {len(self._arrivals):,} requests in {self.seconds:,.1f} s"

    def scaled(self, factor: float) -> list[Arrival]:
        return multiplied(self._arrivals, factor, seed=1)


def answer(costs: Costs, load: Load, promise: Promise, *, balancing: str, num_replicas: int | None) -> Iterator[Table]:
    """Of so many replicas; None: of the fewest that keep the promise. Raises ValueError where there are none."""
    plan = Plan(num_replicas or 1, balancing, target=Target(promise.first_token_s, promise.gap_s))
    if num_replicas is None:
        plan = replicas_needed(plan, costs, load.scaled, promise, rate=load.rate, seconds=load.seconds)
    started = time.perf_counter()
    meter = simulate(plan, costs, load.scaled(1.0), seconds=load.seconds)
    spent = time.perf_counter() - started
    kept = "kept" if promise.is_kept(meter) else "NOT kept"
    yield Table(
        f"{costs.model}, {load.words}: {plan.num_replicas:,} replicas, {balancing}; first token p99 at most "
        f"{1e3 * promise.first_token_s:g} ms, gap p99 at most {1e3 * promise.gap_s:g} ms, refused at most "
        f"{promise.refused:.1%}, good at least {promise.good:.0%}: {kept}",
        ("", "simulated"),
        [(name, value) for name, value in _figures(plan, meter, spent)],
    )


def _figures(plan: Plan, meter: Meter, spent: float) -> Iterator[tuple[str, str]]:
    seconds = meter.end - meter.start
    capacity = plan.num_replicas * seconds
    arrived = max(1, meter.num_arrived)
    yield "requests/s that came", f"{meter.num_arrived / seconds:,.1f}"
    yield "refused", f"{meter.num_refused / arrived:.2%}"
    yield "good: first token and mean gap in time", f"{meter.num_good / arrived:.2%}"
    yield "goodput, requests/s", f"{meter.num_good / seconds:,.1f}"
    yield "tokens/s", f"{meter.num_tokens / seconds:,.0f}"
    for name, durations in (("first token", meter.first_tokens), ("gap", meter.gaps)):
        for share in (0.5, 0.99):
            yield f"{name}, p{100 * share:.0f} ms", f"{1e3 * durations.percentile(share):.1f}"
    yield (
        "rows in use, of all",
        f"{meter.row_seconds / capacity / plan.settings.max_slots:.1%}",
    )
    yield "time in steps, of all", f"{meter.busy_seconds / capacity:.1%}"
    yield "seconds that the simulation took", f"{spent:.1f}"
