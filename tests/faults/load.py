"""Many streams at a time, and what becomes of each: the same as alone, or an error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice

from service.client.client import AsyncClient
from service.client.errors import StepstreamError
from service.client.options import DecodingOptions, Sampling
from service.client.types import Completion, StreamEvent, Timings

MODEL = "en-de-transformer"
TEXTS = (
    "A man in an orange hat staring at something.",
    "A Boston Terrier is running on lush green grass in front of a white fence.",
    "Five people wearing winter jackets and helmets stand in the snow, with snowmobiles in the background.",
)
OPTIONS = (
    DecodingOptions(min_length=120),
    DecodingOptions(sampling=Sampling(temperature=1.3, top_k=20), seed=11, min_length=120),
    DecodingOptions(beam_size=2, num_hypotheses=2, min_length=80),
    DecodingOptions(repetition_penalty=1.3, min_length=120),
)
TRANSLATIONS = tuple((text, options) for text in TEXTS for options in OPTIONS)
UNTIMED = Timings(0.0, 0.0, 0.0)


@dataclass
class Load:
    """Translations that run `concurrency` at a time. started, running and ended change while it runs."""

    client: AsyncClient
    concurrency: int = 50
    running: int = 0
    with_tokens: int = 0
    ended: list[tuple[int, list[StreamEvent]]] = field(default_factory=list)
    failed: list[StepstreamError] = field(default_factory=list)
    stopping: bool = False

    async def run(self, *, number: int | None = None) -> None:
        """So many translations, or as many as there is time for until `stopping`."""
        kinds = enumerate(cycle(range(len(TRANSLATIONS))))
        if number is not None:
            kinds = islice(kinds, number)

        async def work() -> None:
            for _, kind in kinds:
                if self.stopping:
                    return
                await self._translate(kind)

        await asyncio.gather(*(work() for _ in range(self.concurrency)))

    async def until_most_have_tokens(self) -> None:
        """Wait until seven in ten of the streams that run at a time are in their middle."""
        await eventually(lambda: self.with_tokens >= 0.7 * self.concurrency)

    async def _translate(self, kind: int) -> None:
        events: list[StreamEvent] = []
        self.running += 1
        try:
            text, options = TRANSLATIONS[kind]
            async for event in self.client.stream(
                text, model=MODEL, options=options, include_attention=True, timeout_s=120
            ):
                self.with_tokens += not events
                events.append(event)
            self.ended.append((kind, untimed(events)))
        except StepstreamError as error:
            self.failed.append(error)
        finally:
            self.running -= 1
            self.with_tokens -= bool(events)


def untimed(events: Sequence[StreamEvent]) -> list[StreamEvent]:
    """Events without the times, which no two runs share."""
    return [replace(event, timings=UNTIMED) if isinstance(event, Completion) else event for event in events]


async def unbroken(address: str) -> list[list[StreamEvent]]:
    """Each translation as one server makes it alone."""
    whole = []
    async with AsyncClient(address) as client:
        for text, options in TRANSLATIONS:
            stream = client.stream(text, model=MODEL, options=options, include_attention=True)
            whole.append(untimed([event async for event in stream]))
    return whole


async def eventually(holds: Callable[[], bool], *, limit_s: float = 60.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(limit_s):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
