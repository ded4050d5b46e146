"""A replica that falls: killed, or stopped, while calls run on it; and started again."""

from __future__ import annotations

import asyncio
import random

from hostile.soak.world import World


async def restart(world: World, order: random.Random) -> None:
    """SIGKILL or SIGTERM. Calls that ran on it end with UNAVAILABLE or CANCELLED; nothing else may come of it."""
    replica = world.replicas.falling
    if world.replicas.may_fall.locked():
        return
    async with world.replicas.may_fall:
        jobs = [world.any_job(order) for _ in range(8)]
        calls = [asyncio.ensure_future(world.ask("on a falling replica", job, replica)) for job in jobs]
        await asyncio.sleep(order.uniform(0.0, 0.2))
        try:
            await _fall(world, order)
            await asyncio.gather(*calls)
        finally:
            await replica.start()


async def _fall(world: World, order: random.Random) -> None:
    if order.random() < 0.7:
        await world.replicas.falling.kill()
        world.book.statuses["replica killed"]["SIGKILL"] += 1
        return
    status = await world.replicas.falling.stop()
    world.book.statuses["replica killed"]["SIGTERM"] += 1
    if status:
        world.book.break_promise("unexpected", f"a replica that was asked to stop ended with {status}")
