"""Clients in processes of their own, that vanish or freeze in the middle of their streams."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hostile.soak.world import World

START_TIMEOUT_S = 120.0


async def vanish(world: World, order: random.Random) -> None:
    """SIGKILL while its streams run."""
    async with _client(world, order):
        await asyncio.sleep(order.uniform(0.0, 0.5))
    world.book.statuses["vanishing client"]["killed"] += 1


async def freeze(world: World, order: random.Random) -> None:
    """SIGSTOP for some seconds: it reads nothing, and its connection stays. Then it goes on, or is killed."""
    async with _client(world, order) as process:
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(order.uniform(1.0, 6.0))
        if order.random() < 0.5:
            process.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.5)
    world.book.statuses["frozen client"]["frozen"] += 1


@asynccontextmanager
async def _client(world: World, order: random.Random) -> AsyncIterator[Process]:
    """A client whose streams run; killed at the end of the block."""
    arguments = ("-m", "hostile.soak.client", world.replicas.steady.server.address, str(order.randrange(2**32)))
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=PIPE, stderr=DEVNULL)
    assert process.stdout is not None
    try:
        await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT_S)
        yield process
    finally:
        process.kill()
        while await process.stdout.read(65536):
            pass
        await process.wait()
