"""Clients of a server in another process, and when each of their tokens arrived. They know the protocol alone.

Closed loop: each client sends its next text once the last one is answered. Open loop: texts are sent at given times,
whether or not earlier ones are answered. An address may be several with commas between, which take turns. Times are in
seconds of `time.perf_counter`.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import grpc.aio

from service.client.addresses import target_of
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceStub

if TYPE_CHECKING:
    from service.pb.translation_pb2_grpc import TranslationServiceAsyncStub

CONNECT_TIMEOUT_S = 10.0
ORDER_SEED = 0
"""Of the sentences that arrivals are given."""
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)
"""Otherwise all channels of a process to one address share a connection."""


@dataclass
class Answer:
    """One request: when it was sent, when each token arrived, when all was complete (0 while it is not), and how many
    tokens there were. A unary answer has no arrivals."""

    sent_at: float
    arrivals: list[float] = field(default_factory=list)
    completed_at: float = 0.0
    num_tokens: int = 0


@dataclass(frozen=True)
class Window:
    """What happened from `start` to `end`."""

    start: float
    end: float
    answers: Sequence[Answer]

    @property
    def tokens_per_second(self) -> float:
        """Of a stream, tokens that arrived in the window; of unary answers, those of answers complete in it."""
        streamed = sum(self._holds(at) for answer in self.answers for at in answer.arrivals)
        whole = sum(a.num_tokens for a in self.answers if not a.arrivals and self._holds(a.completed_at))
        return (streamed + whole) / (self.end - self.start)

    @property
    def requests_per_second(self) -> float:
        """Complete in the window."""
        return sum(self._holds(answer.completed_at) for answer in self.answers) / (self.end - self.start)

    def first_token_seconds(self) -> list[float]:
        """Of each stream whose first token arrived in the window, from when it was sent."""
        firsts = [(a.sent_at, a.arrivals[0]) for a in self.answers if a.arrivals]
        return [first - sent for sent, first in firsts if self._holds(first)]

    def seconds_between_tokens(self) -> list[float]:
        """Of every two tokens of a stream that follow each other in the window."""
        return [
            later - earlier
            for answer in self.answers
            for earlier, later in pairwise(answer.arrivals)
            if self._holds(earlier) and self._holds(later)
        ]

    def whole_seconds(self) -> list[float]:
        """Of each request completed in the window, from when it was sent."""
        return [a.completed_at - a.sent_at for a in self.answers if self._holds(a.completed_at)]

    def _holds(self, at: float) -> bool:
        return self.start <= at < self.end


@dataclass(frozen=True)
class Texts:
    """What to translate: a model's name, sentences and options."""

    model: str
    sentences: Sequence[str]
    options: pb.DecodingOptions


Send = Callable[["TranslationServiceAsyncStub", Texts, str, Answer], Awaitable[None]]
Client = Callable[[grpc.aio.Channel, random.Random, list[Answer]], Awaitable[None]]
"""One client, which never ends by itself: its connection, an order of its own, and where its answers go."""


async def stream(stub: TranslationServiceAsyncStub, texts: Texts, sentence: str, answer: Answer) -> None:
    """One text by StreamTranslate."""
    request = pb.StreamTranslateRequest(model=texts.model, text=sentence, options=texts.options)
    async for _ in stub.StreamTranslate(request):
        answer.arrivals.append(time.perf_counter())
    answer.completed_at = time.perf_counter()
    answer.num_tokens = len(answer.arrivals)


async def translate(stub: TranslationServiceAsyncStub, texts: Texts, sentence: str, answer: Answer) -> None:
    """One text by Translate."""
    request = pb.TranslateRequest(model=texts.model, texts=[sentence], options=texts.options)
    response = await stub.Translate(request)
    answer.num_tokens = response.translations[0].num_target_tokens
    answer.completed_at = time.perf_counter()


async def closed_loop(
    address: str, texts: Texts, send: Send, *, num_clients: int, warm_up_s: float, measured_s: float
) -> Window:
    """num_clients clients, each with sentences in an order of its own; measured after a time to warm up."""

    async def client(channel: grpc.aio.Channel, order: random.Random, answers: list[Answer]) -> None:
        stub = TranslationServiceStub(channel)
        while True:
            answer = Answer(time.perf_counter())
            answers.append(answer)
            await send(stub, texts, order.choice(texts.sentences), answer)

    return await closed_loop_of(address, client, num_clients=num_clients, warm_up_s=warm_up_s, measured_s=measured_s)


async def closed_loop_of(
    address: str, client: Client, *, num_clients: int, warm_up_s: float, measured_s: float
) -> Window:
    """As `closed_loop`, of clients of any kind."""
    answers: list[Answer] = []
    async with (
        _connected(address) as channel,
        _ended(client(channel, random.Random(i), answers) for i in range(num_clients)),
    ):
        await asyncio.sleep(warm_up_s)
        start = time.perf_counter()
        await asyncio.sleep(measured_s)
        return Window(start, time.perf_counter(), answers)


async def open_loop(address: str, texts: Texts, send: Send, arrivals: Sequence[float]) -> Window:
    """One text at each of `arrivals`, seconds from the start; ends when all are answered."""
    order = random.Random(ORDER_SEED)
    answers: list[Answer] = []

    async def client(stub: TranslationServiceAsyncStub, at: float, sentence: str) -> None:
        await asyncio.sleep(at - time.perf_counter())
        answer = Answer(time.perf_counter())
        answers.append(answer)
        await send(stub, texts, sentence, answer)

    async with _connected(address) as channel:
        stub = TranslationServiceStub(channel)
        start = time.perf_counter()
        await asyncio.gather(*(client(stub, start + at, order.choice(texts.sentences)) for at in arrivals))
        return Window(start, time.perf_counter(), answers)


@asynccontextmanager
async def _connected(address: str) -> AsyncIterator[grpc.aio.Channel]:
    target = target_of(address)
    async with grpc.aio.insecure_channel(target.name, options=(*OWN_CONNECTION, *target.options)) as channel:
        await asyncio.wait_for(channel.channel_ready(), CONNECT_TIMEOUT_S)
        with _uncollected():
            yield channel


@asynccontextmanager
async def _ended(clients: Iterator[Awaitable[None]]) -> AsyncIterator[None]:
    """Run clients that never end by themselves for as long as the block runs; one that failed raises."""
    tasks = [asyncio.ensure_future(client) for client in clients]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without garbage collection, which would stop all clients at once for as long as this process's models take."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
