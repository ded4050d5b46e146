"""Streams without end, and what becomes of each: what an idle server says to the same request, or a loss."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, product

from service.client.client import AsyncClient
from service.client.errors import StepstreamError
from service.client.options import DecodingOptions, Sampling
from service.client.types import Completion, StreamEvent, Timings

MODEL = "en-de-transformer"
TEXTS = (
    "Two dogs play in the snow.",
    "A man in an orange hat staring at something.",
    "A Boston Terrier is running on lush green grass in front of a white fence.",
)
OPTIONS = (
    DecodingOptions(),
    DecodingOptions(sampling=Sampling(temperature=1.2, top_k=20), seed=5),
    DecodingOptions(min_length=60),
    DecodingOptions(beam_size=2),
)
REQUESTS = tuple(product(TEXTS, OPTIONS))
LIMIT_S = 120.0
"""Of one stream."""
UNTIMED = Timings(0.0, 0.0, 0.0)


async def answer(client: AsyncClient, request: int) -> list[StreamEvent]:
    """Every event of one of REQUESTS, without the times, which no two runs share. Raises StepstreamError."""
    text, options = REQUESTS[request]
    stream = client.stream(text, model=MODEL, options=options, timeout_s=LIMIT_S)
    return [replace(event, timings=UNTIMED) if isinstance(event, Completion) else event async for event in stream]


async def all_answers(address: str) -> list[list[StreamEvent]]:
    """What an idle server says to each of REQUESTS."""
    async with AsyncClient(address) as client:
        return [await answer(client, request) for request in range(len(REQUESTS))]


@dataclass
class Load:
    """`num_streams` streams at least, and more until `may_end`, `concurrency` at a time; each request comes in turn.
    The counts change while it runs; `changed` are complete streams that say something else than an idle server."""

    client: AsyncClient
    wanted: Sequence[Sequence[StreamEvent]]
    num_streams: int
    concurrency: int = 32
    may_end: bool = False
    num_ended: int = 0
    changed: int = 0
    lost: Counter[str] = field(default_factory=Counter)

    @property
    def num_lost(self) -> int:
        return self.lost.total()

    @property
    def is_enough(self) -> bool:
        """Whether as many streams have ended as were asked for."""
        return self.num_ended >= self.num_streams

    async def run(self) -> None:
        """Until every stream has ended."""
        requests = cycle(range(len(REQUESTS)))

        async def work() -> None:
            while not (self.is_enough and self.may_end):
                await self._stream(next(requests))

        await asyncio.gather(*(work() for _ in range(self.concurrency)))

    async def until_ended(self, number: int) -> None:
        """Wait for so many streams to have ended."""
        while self.num_ended < number:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def _stream(self, request: int) -> None:
        try:
            self.changed += await answer(self.client, request) != self.wanted[request]
        except StepstreamError as error:
            self.lost[f"{type(error).__name__}: {error}"] += 1
        finally:
            self.num_ended += 1
