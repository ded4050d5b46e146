"""What one client gets does not depend on who else is being translated."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import pytest

from service.client.client import AsyncClient
from service.client.types import StepEvent

NUM_ALONE = 200
NUM_TOGETHER = 64
FEWER = 40
ATTENTIONS = ("none", "dot", "concat", "additive", "scaled-dot", "location", "local-m", "local-p", "hard")
CASES = [
    *(("fp32_server", model, NUM_ALONE) for model in ("en-de-transformer", "en-de-general", "en-de-local-p")),
    *(("shipped_server", model, NUM_ALONE) for model in ("en-de-transformer", "en-de-general")),
    *(("shipped_server", f"en-de-{attention}", FEWER) for attention in ATTENTIONS),
    ("shipped_server", "en-ko-transformer", FEWER),
]


@dataclass(frozen=True)
class Stream:
    """Everything of a stream that must not depend on the neighbours."""

    text: str
    token_ids: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    attention: tuple[tuple[float, ...], ...]


async def stream(client: AsyncClient, text: str, model: str) -> Stream:
    steps: list[StepEvent] = []
    async for event in client.stream(text, model=model, include_attention=model != "en-de-none"):
        if isinstance(event, StepEvent):
            steps.append(event)
        else:
            done = event
    return Stream(
        done.text,
        tuple(s.token_id for s in steps),
        tuple(s.log_probability for s in steps),
        tuple(s.attention for s in steps),
    )


async def translate_together(client: AsyncClient, texts: list[str], model: str) -> list[Stream]:
    """Every text while NUM_TOGETHER - 1 others are in flight."""
    places = asyncio.Semaphore(NUM_TOGETHER)

    async def one(text: str) -> Stream:
        async with places:
            return await stream(client, text, model)

    return await asyncio.gather(*(one(text) for text in texts))


@pytest.mark.parametrize(("server", "model", "num_alone"), CASES)
async def test_a_sentence_translates_the_same_alone_or_in_a_crowd(
    server: str, model: str, num_alone: int, sentences: list[str], request: pytest.FixtureRequest
) -> None:
    order = random.Random(4)
    texts = order.sample(sentences, num_alone)
    crowd = texts + order.sample(sentences, NUM_TOGETHER)
    async with AsyncClient(request.getfixturevalue(server)) as client:
        alone = [await stream(client, text, model) for text in texts]
        together = await translate_together(client, crowd, model)
    for text, one, other in zip(texts, alone, together, strict=False):
        assert one.text == other.text, text
        assert one == other, text
