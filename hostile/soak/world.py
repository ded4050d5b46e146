"""What every scenario shares: the replicas, the known answers, and the book of what happened."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field

import grpc
import grpc.aio

from hostile.soak.jobs import LONG_S, Job, answer
from hostile.soak.replicas import Replica, Replicas
from hostile.verdicts import CLIENT_GAVE_UP, told_internals

HANG_S = 2 * LONG_S
"""A call that has not ended by then never does."""
MOST_EXAMPLES = 20
"""Problems that are told in full."""
BUSY = frozenset({grpc.StatusCode.RESOURCE_EXHAUSTED})
"""What any call may get beside a flood."""
LOADING = (grpc.StatusCode.UNAVAILABLE, "the model is being loaded; try again later")
"""Of a request that hits on the version that is swapped while it comes."""


@dataclass
class Book:
    """Counts by scenario and status, and what broke a promise."""

    statuses: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    broken: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    num_compared: int = 0

    def break_promise(self, kind: str, example: str) -> None:
        """kind: hung, unexpected, lost, different or told."""
        self.broken[kind] += 1
        if len(self.examples) < MOST_EXAMPLES:
            self.examples.append(f"{kind}: {example}")


class World:
    """Everything but the scenarios."""

    def __init__(self, replicas: Replicas, book: Book) -> None:
        self.replicas = replicas
        self.book = book
        self._expected: dict[Job, bytes] = {}
        self._jobs: dict[str, list[Job]] = defaultdict(list)

    async def learn(self, jobs: Iterable[Job]) -> None:
        """Ask each job of an idle server; raises grpc.aio.AioRpcError."""
        for job in jobs:
            self._expected[job] = await answer(self.replicas.steady.channel, job)
            self._jobs[job.kind].append(job)

    def job(self, kind: str, order: random.Random) -> Job:
        return order.choice(self._jobs[kind])

    def any_job(self, order: random.Random) -> Job:
        return order.choice(list(self._expected))

    async def ask(
        self,
        scenario: str,
        job: Job,
        replica: Replica,
        *,
        timeout_s: float = LONG_S,
        also: frozenset[grpc.StatusCode] = frozenset(),
    ) -> None:
        """A job must end well with the answer that is known; `also` lists other statuses that it may end with."""
        messages = await self.settled(scenario, replica, answer(replica.channel, job, timeout_s), BUSY | also)
        if messages is not None:
            self.compare(scenario, job, messages)

    def compare(self, scenario: str, job: Job, found: bytes) -> None:
        """A complete answer must be the known one."""
        self.book.num_compared += 1
        if found != self._expected[job]:
            kind = "lost" if self._expected[job].startswith(found) else "different"
            self.book.break_promise(kind, f"{scenario}: {job.kind} {job.request!r}")

    async def settled(
        self, scenario: str, replica: Replica, call: Awaitable[bytes], permitted: frozenset[grpc.StatusCode]
    ) -> bytes | None:
        """What a call gives, None where it ends with another status; notes the status and whether it may be."""
        generation = replica.generation
        try:
            async with asyncio.timeout(HANG_S):
                found = await call
        except TimeoutError:
            self.book.break_promise("hung", scenario)
        except grpc.aio.AioRpcError as error:
            self.note(scenario, replica, generation, error.code(), error.details() or "", permitted)
        except (asyncio.CancelledError, grpc.aio.UsageError):
            if generation == replica.generation:
                raise
            self.book.statuses[scenario]["cut off with its replica"] += 1
        else:
            self.book.statuses[scenario]["OK"] += 1
            return found
        return None

    def note(
        self,
        scenario: str,
        replica: Replica,
        generation: int,
        code: grpc.StatusCode,
        details: str,
        permitted: frozenset[grpc.StatusCode],
    ) -> None:
        """A status other than OK; a replica that is down, or fell since `generation`, explains UNAVAILABLE and
        CANCELLED."""
        if (code, details) in CLIENT_GAVE_UP and scenario == "interactive":
            self.book.statuses[scenario]["none, since the client gave up"] += 1
            return
        self.book.statuses[scenario][code.name] += 1
        if generation != replica.generation or not replica.is_up:
            permitted |= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        if code not in permitted and (code, details) != LOADING:
            self.book.break_promise("unexpected", f"{scenario} on the {replica.name}: {code.name}: {details}")
        elif what := told_internals(details):
            self.book.break_promise("told", f"{scenario}: a status tells {what}: {details}")
