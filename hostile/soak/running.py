"""Workers that play scenarios side by side until the time is over, and what may then be said."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hostile.checks import Check, at_most, none_of
from hostile.growth import MIB, Sample, growth
from hostile.soak import management
from hostile.soak.jobs import make_jobs
from hostile.soak.replicas import Replica, Replicas
from hostile.soak.scenarios import SCENARIOS
from hostile.soak.world import Book, World

NUM_WORKERS = 16
JOBS_EACH = 5
"""Of every kind and version."""
MOST_GROWTH = 8.0
"""MiB of resident memory that the steady replica may grow by for each 100,000 calls."""
FEWEST_SAMPLES = 60
"""Below, a run is too short for its growth to be told from its warming up."""
BROKEN = {
    "hung": "calls hang",
    "unexpected": "unexpected statuses",
    "lost": "translations are lost or cut short",
    "different": "translations differ from those made before",
    "told": "statuses tell of the inside",
}


@dataclass(frozen=True)
class Plan:
    """seed decides which scenarios each worker plays, in which order and how."""

    seed: int
    seconds: float
    sample_s: float = 5.0
    num_workers: int = NUM_WORKERS


@dataclass
class Outcome:
    """What happened; memory of the steady replica over seconds: the other one falls before it could grow."""

    book: Book
    num_played: int
    memory: Sequence[Sample]
    checks: list[Check]


async def soak(store: Path, folder: Path, plan: Plan, broken_by: Sequence[Path] = ()) -> Outcome:
    """folder takes the servers' logs. Raises ServerLostError where a server does not start."""
    replicas, book = Replicas(store, folder, tuple(broken_by)), Book()
    world = World(replicas, book)
    try:
        await replicas.start()
        await world.learn(make_jobs(plan.seed, management.SERVED, each=JOBS_EACH))
        started = time.monotonic()
        sampler = asyncio.ensure_future(_sample(replicas.steady, started, plan.sample_s))
        workers = (
            _work(world, random.Random(f"{plan.seed}-{n}"), started + plan.seconds) for n in range(plan.num_workers)
        )
        played = await asyncio.gather(*workers)
        sampler.cancel()
        checks = [none_of(book.broken[kind], what) for kind, what in BROKEN.items()]
        steady = replicas.steady.samples
        if len(steady) >= FEWEST_SAMPLES:
            calls = sum(counts.total() for counts in book.statuses.values())
            grown = growth(steady).resident * plan.seconds / calls * 100_000 / MIB
            checks.append(at_most(grown, MOST_GROWTH, "MiB more resident for each 100,000 calls, by the last half"))
        for replica in replicas.both:
            checks += await replica.final_checks()
        return Outcome(book, sum(played), steady, checks)
    finally:
        replicas.kill()


async def _work(world: World, order: random.Random, ends_at: float) -> int:
    """Plays scenarios; how many."""
    names = list(SCENARIOS)
    weights = [weight for weight, _ in SCENARIOS.values()]
    number = 0
    while time.monotonic() < ends_at:
        [name] = order.choices(names, weights)
        scenario = SCENARIOS[name][1]
        try:
            await scenario(world, random.Random(order.random()))
        except Exception as error:
            world.book.break_promise("unexpected", f"{name}: {type(error).__name__}: {error}")
        number += 1
    return number


async def _sample(replica: Replica, started: float, every_s: float) -> None:
    while True:
        await replica.sample(time.monotonic() - started)
        await asyncio.sleep(every_s)
