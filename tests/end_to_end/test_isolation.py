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


@dataclass(frozen=True)
class Stream:
    """Everything of a stream that must not depend on the neighbours."""

    text: str
    token_ids: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    attention: tuple[tuple[float, ...], ...]


async def stream(client: AsyncClient, text: str, model: str) -> Stream:
    steps: list[StepEvent] = []
    async for event in client.stream(text, model=model, include_attention=True):
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


@pytest.mark.parametrize("model", ["en-de-transformer", "en-de-general"])
@pytest.mark.parametrize("server", ["shipped_server", "fp32_server"])
async def test_a_sentence_translates_the_same_alone_or_in_a_crowd(
    server: str, model: str, sentences: list[str], request: pytest.FixtureRequest
) -> None:
    order = random.Random(4)
    texts = order.sample(sentences, NUM_ALONE)
    crowd = texts + order.sample(sentences, NUM_TOGETHER)
    async with AsyncClient(request.getfixturevalue(server)) as client:
        alone = [await stream(client, text, model) for text in texts]
        together = await translate_together(client, crowd, model)
    for text, one, other in zip(texts, alone, together, strict=False):
        assert one.text == other.text, text
        assert one == other, text
