"""A server's memory after each round of work, when nothing runs, and what may be said of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from hostile.checks import Check, at_most, balanced, none_of
from hostile.growth import MIB, Sample, growth
from hostile.memory.load import Load
from hostile.memory.waiting import CANCELLED, cancel_waiting
from hostile.server import Balance, ServerProcess

STREAMS, REFUSED = 100_000, 10_000
"""What the growth of resident memory is stated for."""
MOST_RESIDENT, MOST_REFUSED = 8.0, 1.0
"""MiB that resident memory may grow by over STREAMS and over REFUSED."""
MOST_FORGOTTEN = 120.0
"""Bytes that malloc may hold more after each stream that was cancelled while it waited. A handler that swallows its
cancellation leaves some 400; the long searches that hold the slots meanwhile leave some 30 for each."""
EXPECTED = {"OK", "cancelled by the client", CANCELLED, "INVALID_ARGUMENT", "NOT_FOUND"}
ROWS = "stepstream_step_rows_sum"


@dataclass(frozen=True)
class Plan:
    """How much to do: rounds of so many streams, of so many that are cancelled while they wait, and of so many requests
    that are refused."""

    seed: int = 1
    num_rounds: int = 100
    streams: int = 1_000
    waiting: int = 100
    refused: int = 500


@dataclass
class Measured:
    """What came of it. num_steps counts the decoder steps of every stream."""

    balance: Balance
    statuses: Counter[str]
    num_steps: int
    streams: list[Sample]
    waiting: list[Sample]
    refused: list[Sample]

    def checks(self) -> list[Check]:
        """Every promise about memory."""
        streams, waiting, refused = map(growth, (self.streams, self.waiting, self.refused))
        return [
            at_most(
                waiting.allocated, MOST_FORGOTTEN, "bytes more held by malloc after each stream cancelled in the queue"
            ),
            at_most(STREAMS * streams.resident / MIB, MOST_RESIDENT, f"MiB more resident after {STREAMS:,} streams"),
            at_most(REFUSED * refused.resident / MIB, MOST_REFUSED, f"MiB more resident after {REFUSED:,} refused"),
            none_of(sum(n for code, n in self.statuses.items() if code not in EXPECTED), "unexpected statuses"),
            balanced(self.balance),
        ]


async def measure(server: ServerProcess, plan: Plan) -> Measured:
    """Raises ServerLostError where the server ends."""
    load = Load(server.address, plan.seed)

    async def rounds(work: Callable[[int], Awaitable[None]], each: int) -> list[Sample]:
        samples = []
        for number in range(1, plan.num_rounds + 1):
            await work(each)
            await asyncio.to_thread(server.settled_balance, timeout_s=5.0)
            samples.append(Sample(number * each, await asyncio.to_thread(server.memory, collect=True)))
        return samples

    streams = await rounds(load.streams, plan.streams)
    waiting = await rounds(partial(cancel_waiting, server, load.statuses), plan.waiting)
    refused = await rounds(load.refused, plan.refused)
    await load.close()
    balance = await asyncio.to_thread(server.settled_balance)
    num_steps = await asyncio.to_thread(server.count, ROWS)
    return Measured(balance, load.statuses, num_steps, streams, waiting, refused)
