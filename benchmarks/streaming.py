"""A server in a process of its own, with as many streaming clients as it has slots."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc.aio

from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceStub

if TYPE_CHECKING:
    from service.pb.translation_pb2_grpc import TranslationServiceAsyncStub

WARM_UP_S = 1.0
MEASURED_S = 6.0


@dataclass
class Count:
    """Messages that arrived since the warm-up ended."""

    messages: int = 0


async def messages_per_second(
    address: str, model: str, texts: list[str], *, num_clients: int, max_length: int
) -> float:
    """Each client streams one text after the other; the rate of messages, one a step, over MEASURED_S seconds."""
    count = Count()
    async with grpc.aio.insecure_channel(address) as channel:
        stub = TranslationServiceStub(channel)
        clients = [
            asyncio.create_task(_client(stub, model, random.Random(i), texts, max_length, count))
            for i in range(num_clients)
        ]
        await asyncio.sleep(WARM_UP_S)
        count.messages = 0
        started = time.perf_counter()
        await asyncio.sleep(MEASURED_S)
        rate = count.messages / (time.perf_counter() - started)
        for client in clients:
            client.cancel()
        for result in await asyncio.gather(*clients, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
    return rate


async def _client(
    stub: TranslationServiceAsyncStub, model: str, order: random.Random, texts: list[str], max_length: int, count: Count
) -> None:
    options = pb.DecodingOptions(max_length=max_length)
    while True:
        request = pb.StreamTranslateRequest(model=model, text=order.choice(texts), options=options)
        async for _ in stub.StreamTranslate(request):
            count.messages += 1
