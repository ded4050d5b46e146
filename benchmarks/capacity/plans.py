"""A table for somebody who plans: from ten replicas to ten thousand, under Poisson, bursty and recorded arrivals.

Thousands of replicas are simulated by a sample of them: CELL replicas that get their share of the arrivals. A replica
meets the others only where the balancer compares it with one of them at random, and in a large number of replicas those
are independent of each other (Mitzenmacher 2001; Graham 2000), while bursts come to all at once, as they do in the
sample. `sampling` shows what that is worth: the same load on each replica, for more and more replicas.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from benchmarks.capacity.answers import Load
from benchmarks.capacity.costs import Costs
from benchmarks.capacity.meter import Meter, Target
from benchmarks.capacity.planning import FULL_ROWS, Promise, replicas_needed
from benchmarks.capacity.simulation import Plan, simulate
from benchmarks.report import Table

CELL = 16
"""Replicas of a sample; one more or less of them is 6 % of the replicas."""
SIZES = (10, 100, 1_000, 10_000)
"""Replicas, as many as would be busy all of the time: a promise takes more."""
FIGURES = ("first p50, ms", "first p99, ms", "gap p99, ms")
SAMPLES = (8, 16, 32, 64, 128)


def plans(costs: Costs, loads: Sequence[Load], promise: Promise, *, balancing: str) -> Table:
    """The fewest replicas for each load, scaled to as many requests as SIZES replicas can do at most."""
    rows: list[tuple[str, ...]] = []
    plan = Plan(1, balancing, target=Target(promise.first_token_s, promise.gap_s))
    numbers = sorted({min(size, CELL) for size in SIZES})
    with ProcessPoolExecutor() as pool:
        searches = {
            (load, number): pool.submit(_found, plan, costs, load, promise, number)
            for number in reversed(numbers)
            for load in loads
        }
        found = {key: search.result() for key, search in searches.items()}
    for load in loads:
        for size in SIZES:
            number = min(size, CELL)
            simulated, meter, spent = found[load, number]
            rate = size / costs.request_seconds(FULL_ROWS)
            needed = math.ceil(simulated * size / number)
            rows.append((load.words, f"{rate:,.0f}", f"{needed:,}", f"{simulated}", *_figures(meter), f"{spent:.0f}"))
    return Table(
        f"{costs.model}, {balancing}: replicas with which the first token's p99 is at most "
        f"{1e3 * promise.first_token_s:g} ms, that of gaps {1e3 * promise.gap_s:g} ms, {promise.good:.0%} of the "
        f"requests good, {promise.refused:.1%} refused at most; for more than {CELL} busy ones, of a sample",
        ("arrivals", "requests/s", "replicas", "simulated", *FIGURES, "took, s"),
        rows,
        texts=("arrivals",),
    )


def sampling(costs: Costs, load: Load, share: float, *, balancing: str) -> Table:
    """What requests see of ever more replicas with the same load on each, a share of what a replica does at most."""
    rows = []
    for number in SAMPLES:
        rate = share * number / costs.request_seconds(FULL_ROWS)
        started = time.perf_counter()
        meter = simulate(Plan(number, balancing), costs, load.scaled(rate / load.rate), seconds=load.seconds)
        rows.append((f"{number:,}", *_figures(meter), f"{time.perf_counter() - started:.0f}"))
    return Table(
        f"{costs.model}, {balancing}, {load.words}, {share:.0%} of what the replicas do at most: what a sample of "
        "replicas says of more of them",
        ("replicas", *FIGURES, "took, s"),
        rows,
    )


def _found(plan: Plan, costs: Costs, load: Load, promise: Promise, number: int) -> tuple[int, Meter, float]:
    """Replicas for what `number` do at most, what they give, and the seconds that finding them took."""
    started = time.perf_counter()
    rate = number / costs.request_seconds(FULL_ROWS)
    factor = rate / load.rate
    found = replicas_needed(
        plan, costs, lambda share: load.scaled(share * factor), promise, rate=rate, seconds=load.seconds
    )
    meter = simulate(found, costs, load.scaled(factor), seconds=load.seconds)
    return found.num_replicas, meter, time.perf_counter() - started


def _figures(meter: Meter) -> tuple[str, str, str]:
    seconds = (meter.first_tokens.percentile(0.5), meter.first_tokens.percentile(0.99), meter.gaps.percentile(0.99))
    first, last, gap = (f"{1e3 * each:.1f}" for each in seconds)
    return first, last, gap
