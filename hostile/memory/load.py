"""Rounds of streams, a third of them cancelled somewhere, and of requests that are refused."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from hostile.texts import MODEL, sentences
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceStub

NUM_CLIENTS = 32
CANCELLED = 1 / 3
"""Share of the streams."""
DEADLINE_S = 120.0
OPTIONS = pb.DecodingOptions(min_length=10, max_length=14)
SERVICE = "/stepstream.v1.TranslationService"


class Load:
    """Clients of one server, on one event loop. Counts each status."""

    def __init__(self, address: str, seed: int) -> None:
        self._channel = grpc.aio.insecure_channel(address)
        self._stub = TranslationServiceStub(self._channel)
        self._order = random.Random(seed)
        self.statuses: Counter[str] = Counter()

    async def streams(self, number: int) -> None:
        """So many streams, NUM_CLIENTS at a time."""
        await self._side_by_side(number, self._stream)

    async def refused(self, number: int) -> None:
        """So many requests of every kind that is refused before it reaches the engine."""
        await self._side_by_side(number, self._refused)

    async def close(self) -> None:
        await self._channel.close()

    async def _side_by_side(self, number: int, one: Callable[[], Awaitable[None]]) -> None:
        left = iter(range(number))

        async def client() -> None:
            for _ in left:
                await one()

        await asyncio.gather(*(client() for _ in range(NUM_CLIENTS)))

    async def _stream(self) -> None:
        order = self._order
        request = pb.StreamTranslateRequest(model=MODEL, text=sentences(order, 1)[0], options=OPTIONS)
        num_read = order.randrange(8) if order.random() < CANCELLED else None
        call = self._stub.StreamTranslate(request, timeout=DEADLINE_S)
        try:
            while num_read != 0 and await call.read() is not grpc.aio.EOF:
                num_read = None if num_read is None else num_read - 1
        except grpc.aio.AioRpcError:
            pass
        if num_read == 0:
            call.cancel()
        self.statuses["cancelled by the client" if num_read == 0 else (await call.code()).name] += 1

    async def _refused(self) -> None:
        kind = self._order.randrange(3)
        data = (
            pb.TranslateRequest(model="missing", texts=["ba"]).SerializeToString(),
            pb.TranslateRequest(model=MODEL, texts=["ba" * 8000]).SerializeToString(),
            b"\x0a\xff\xff\xff",
        )[kind]
        make: Any = self._channel.unary_unary
        call = make(f"{SERVICE}/Translate")(data, timeout=DEADLINE_S)
        try:
            await call
        except grpc.aio.AioRpcError as error:
            self.statuses[error.code().name] += 1
