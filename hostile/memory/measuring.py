"""A server's memory after each round of work, when nothing runs, and what may be said of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from hostile.checks import Check, at_most, balanced, none_of
from hostile.growth import MIB, Sample, growth
from hostile.memory.load import Load
from hostile.server import Balance, ServerProcess

STREAMS, REFUSED = 100_000, 10_000
"""What the growth of resident memory is stated for."""
MOST_RESIDENT, MOST_REFUSED = 8.0, 1.0
"""MiB that resident memory may grow by over STREAMS and over REFUSED."""
MOST_ALLOCATED = 8.0
"""Bytes that malloc may hold more after each stream."""
EXPECTED = {"OK", "cancelled by the client", "INVALID_ARGUMENT", "NOT_FOUND"}
ROWS = "stepstream_step_rows_sum"


@dataclass(frozen=True)
class Plan:
    """How much to do: rounds of so many streams, then rounds of so many requests that are refused."""

    seed: int = 1
    num_rounds: int = 100
    streams: int = 1_000
    refused: int = 300


@dataclass
class Measured:
    """What came of it. num_steps counts the decoder steps of every stream."""

    balance: Balance
    statuses: Counter[str]
    num_steps: int
    streams: list[Sample] = field(default_factory=list)
    refused: list[Sample] = field(default_factory=list)

    def checks(self) -> list[Check]:
        """Every promise about memory."""
        streams, refused = growth(self.streams), growth(self.refused)
        return [
            at_most(streams.allocated, MOST_ALLOCATED, "bytes more held by malloc after each stream"),
            at_most(STREAMS * streams.resident / MIB, MOST_RESIDENT, f"MiB more resident after {STREAMS:,} streams"),
            at_most(REFUSED * refused.resident / MIB, MOST_REFUSED, f"MiB more resident after {REFUSED:,} refused"),
            none_of(sum(n for code, n in self.statuses.items() if code not in EXPECTED), "unexpected statuses"),
            balanced(self.balance),
        ]


async def measure(server: ServerProcess, plan: Plan) -> Measured:
    """Raises ServerLostError where the server ends."""
    load = Load(server.address, plan.seed)
    streams, refused = [], []
    for number in range(1, plan.num_rounds + 1):
        await load.streams(plan.streams)
        streams.append(await _sample(server, number * plan.streams))
    for number in range(1, plan.num_rounds + 1):
        await load.refused(plan.refused)
        refused.append(await _sample(server, number * plan.refused))
    await load.close()
    balance = await asyncio.to_thread(server.settled_balance)
    num_steps = await asyncio.to_thread(server.count, ROWS)
    return Measured(balance, load.statuses, num_steps, streams, refused)


async def _sample(server: ServerProcess, done: int) -> Sample:
    """Once all that was cancelled has ended, and after a garbage collection."""
    await asyncio.to_thread(server.settled_balance, timeout_s=5.0)
    return Sample(done, await asyncio.to_thread(server.memory, collect=True))
