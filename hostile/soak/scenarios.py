"""What clients do, each with its weight. A scenario gets a Random of its own, so that a seed repeats it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from hostile.methods import BY_NAME, METHODS
from hostile.soak.jobs import KINDS, LONG_S, answer, start, told
from hostile.soak.processes import freeze, vanish
from hostile.soak.raw import damage, reset_rapidly
from hostile.soak.restarts import restart
from hostile.soak.swaps import swap
from hostile.soak.world import BUSY, World
from hostile.texts import HOSTILE_NAMES, MODEL, WORDS, sentences
from service.pb import translation_pb2 as pb

Scenario = Callable[[World, random.Random], Awaitable[None]]
CANCELLED = frozenset({grpc.StatusCode.CANCELLED})
EXPIRED = frozenset({grpc.StatusCode.DEADLINE_EXCEEDED})
REFUSED = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND})


def ordinary(kind: str) -> Scenario:
    """A client that asks, reads, and goes on."""

    async def scenario(world: World, order: random.Random) -> None:
        await world.ask(kind, world.job(kind, order), world.replicas.pick(order))

    return scenario


async def interactive(world: World, order: random.Random) -> None:
    """Starts a translation, edits its beginning a few times, and waits for the end of the last edit."""
    replica = world.replicas.pick(order)
    words = order.choices(WORDS, k=order.randint(1, 3))
    start_with = pb.StreamTranslateRequest(model=MODEL, text=sentences(order, 1)[0])

    async def requests() -> AsyncIterator[pb.TranslateInteractiveRequest]:
        yield pb.TranslateInteractiveRequest(start=start_with)
        for word in words:
            await asyncio.sleep(order.uniform(0.0, 0.1))
            yield pb.TranslateInteractiveRequest(edit=pb.Edit(target_prefix=word))

    async def last_text() -> bytes:
        make: Any = replica.channel.stream_stream
        call = make(
            BY_NAME["TranslateInteractive"].path,
            request_serializer=pb.TranslateInteractiveRequest.SerializeToString,
            response_deserializer=pb.TranslateInteractiveResponse.FromString,
        )(requests(), timeout=LONG_S)
        texts = {m.edit: m.response.completion.text async for m in call if m.response.HasField("completion")}
        return str(texts.get(len(words), "")).encode()

    text = await world.settled("interactive", replica, last_text(), BUSY)
    if text is not None and not text.startswith(words[-1].encode()):
        world.book.break_promise("lost", f"interactive: {text!r} after the edit to {words[-1]}")


async def slow(world: World, order: random.Random) -> None:
    """Reads a message now and then."""
    replica, job = world.replicas.pick(order), world.job("greedy", order)

    async def read() -> bytes:
        messages = []
        async for message in start(replica.channel, job, LONG_S):
            messages.append(message)
            await asyncio.sleep(order.uniform(0.0, 0.2))
        return told(job, messages)

    found = await world.settled("slow reader", replica, read(), BUSY)
    if found is not None:
        world.compare("slow reader", job, found)


async def flood(world: World, order: random.Random) -> None:
    """Many requests at once: each is answered rightly or refused."""
    replica, job = world.replicas.pick(order), world.any_job(order)
    await asyncio.gather(*(world.ask("flood", job, replica) for _ in range(order.choice((20, 80, 200)))))


async def deadlines(world: World, order: random.Random) -> None:
    """From a millisecond to two seconds."""
    timeout_s = 0.001 * 2000 ** order.random()
    await world.ask(
        "short deadline", world.any_job(order), world.replicas.pick(order), timeout_s=timeout_s, also=EXPIRED
    )


async def cancels(world: World, order: random.Random) -> None:
    """Cancels after a random time, or after a few messages."""
    replica, job = world.replicas.pick(order), world.job(order.choice(("greedy", "beam", "sampled")), order)
    num_read, seconds = order.randrange(6), order.choice((0.0, order.uniform(0.0, 0.05)))

    async def cancelled() -> bytes:
        call = start(replica.channel, job, LONG_S)
        for _ in range(num_read):
            if await call.read() is grpc.aio.EOF:
                break
        await asyncio.sleep(seconds)
        call.cancel()
        code = await call.code()
        if code != grpc.StatusCode.OK:
            raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), await call.details())
        return b""

    await world.settled("cancel", replica, cancelled(), BUSY | CANCELLED)


async def garbage(world: World, order: random.Random) -> None:
    """Messages that are damaged, or whose fields are at their edges."""
    replica = world.replicas.pick(order)
    method = order.choice([method for method in METHODS if not method.requests_stream])
    [request] = method.requests(order)

    async def send() -> bytes:
        make: Any = replica.channel.unary_stream if method.responses_stream else replica.channel.unary_unary
        call = make(method.path)(request, timeout=LONG_S)
        if method.responses_stream:
            async for _ in call:
                pass
            return b""
        return bytes(await call)

    await world.settled("garbage", replica, send(), method.permitted)


async def names(world: World, order: random.Random) -> None:
    """Models that are paths, control characters or too long: none is ever looked for."""
    replica = world.replicas.pick(order)
    request = pb.GetModelRequest(model=order.choice(HOSTILE_NAMES), version=order.choice((0, 1, -1)))
    make: Any = replica.channel.unary_unary

    async def send() -> bytes:
        return bytes(await make(BY_NAME["GetModel"].path)(request.SerializeToString(), timeout=LONG_S))

    if await world.settled("hostile name", replica, send(), REFUSED) is not None:
        world.book.break_promise("unexpected", f"the name {request.model!r} is a model")


async def impatient(world: World, order: random.Random) -> None:
    """A connection of its own that is closed while calls run on it."""
    replica = world.replicas.pick(order)
    options = (("grpc.use_local_subchannel_pool", 1),)
    channel = grpc.aio.insecure_channel(replica.server.address, options=options)
    calls = [asyncio.ensure_future(answer(channel, world.any_job(order))) for _ in range(4)]
    await asyncio.sleep(order.uniform(0.0, 0.3))
    await channel.close()
    ended = await asyncio.gather(*calls, return_exceptions=True)
    world.book.statuses["closed connection"]["closed"] += len(ended)


SCENARIOS: dict[str, tuple[float, Scenario]] = {
    **{kind: (8.0, ordinary(kind)) for kind in KINDS},
    "interactive": (8.0, interactive),
    "slow reader": (6.0, slow),
    "flood": (3.0, flood),
    "short deadline": (10.0, deadlines),
    "cancel": (12.0, cancels),
    "garbage": (10.0, garbage),
    "hostile name": (3.0, names),
    "closed connection": (4.0, impatient),
    "rapid resets": (2.0, reset_rapidly),
    "damaged connection": (5.0, damage),
    "vanishing client": (0.7, vanish),
    "frozen client": (0.5, freeze),
    "model swap": (0.5, swap),
    "replica killed": (0.25, restart),
}
"""Scenarios by name, with how often each is drawn, in proportion."""
