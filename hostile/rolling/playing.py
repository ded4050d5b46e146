"""The three plays: replicas replaced one after the other; replicas killed, by clients that do not try again and by
clients that go on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

from hostile.checks import Check, none_of
from hostile.envoy import Envoy
from hostile.rolling.load import Load
from hostile.rolling.replicas import Replica
from service.client.client import AsyncClient
from service.client.retry import RETRY, Retry, RetryPolicy
from service.client.types import StreamEvent

ONCE = RetryPolicy(max_attempts=1)


@dataclass(frozen=True)
class Stage:
    """What is played on: replicas, the proxy in front of them, and what an idle server says."""

    envoy: Envoy
    replicas: Sequence[Replica]
    wanted: Sequence[Sequence[StreamEvent]]

    async def all_healthy(self) -> None:
        """Until the proxy sends calls to every replica."""
        await asyncio.to_thread(self.envoy.wait_until_healthy, *(replica.address for replica in self.replicas))


@dataclass(frozen=True)
class Played:
    """What came of a play: a sentence of figures, and the promises."""

    title: str
    figures: str
    checks: Sequence[Check]


async def roll(stage: Stage, num_streams: int) -> Played:
    """Replicas stop (SIGTERM) and start again, one after the other, until every stream has ended. No client tries
    again."""
    statuses: list[int] = []
    async with AsyncClient(stage.envoy.address, retry=ONCE) as client:
        load = Load(client, stage.wanted, num_streams)
        running = asyncio.create_task(load.run())
        for replica in cycle(stage.replicas):
            await load.until_ended(load.num_ended + load.concurrency)
            if load.is_enough and len(statuses) >= len(stage.replicas):
                break
            statuses.append(await asyncio.to_thread(replica.server.stop))
            await asyncio.to_thread(replica.start)
            await stage.all_healthy()
        load.may_end = True
        await running
    figures = (
        f"{load.num_ended:,} streams, {len(statuses)} replacements of {len(stage.replicas)} replicas: {_told(load)}"
    )
    checks = [
        none_of(load.num_lost, "stream lost while replicas are replaced, without any retry of the client"),
        none_of(load.changed, "stream changed by it"),
        none_of(sum(map(bool, statuses)), "replica that ends with anything but 0"),
    ]
    return Played("Rolling update", figures, checks)


async def kill(stage: Stage, num_streams: int, num_kills: int, *, goes_on: bool) -> Played:
    """Replicas are killed (SIGKILL) in the middle of their streams and started again, so many times. goes_on: whether
    clients resume."""
    retries: list[Retry] = []
    num_cut_off = num_broken_elsewhere = 0
    policy = RETRY if goes_on else ONCE
    async with AsyncClient(stage.envoy.address, retry=policy, on_retry=retries.append) as client:
        load = Load(client, stage.wanted, num_streams)
        running = asyncio.create_task(load.run())
        for number in range(num_kills):
            await load.until_ended(max(num_streams // num_kills * number, load.num_ended) + load.concurrency)
            own, others = await _kill_once(stage, stage.replicas[number % len(stage.replicas)])
            num_cut_off += own
            num_broken_elsewhere += others
        load.may_end = True
        await running
    who = "clients that go on" if goes_on else "clients that do not try again"
    figures = (
        f"{load.num_ended:,} streams of {who}, {num_kills} kills, {num_cut_off} calls cut off by them, "
        f"{len(retries)} retries: {_told(load)}"
    )
    checks = [
        Check("each kill meets streams", f"{num_cut_off} cut off", num_cut_off >= num_kills),
        none_of(num_broken_elsewhere, "call broken at the other replicas"),
        none_of(load.changed, f"stream of {who} changed"),
    ]
    if goes_on:
        checks.append(none_of(load.num_lost, f"stream of {who} lost"))
    else:
        promise = "a killed replica loses at most its own streams"
        checks.append(Check(promise, f"{load.num_lost} of {num_cut_off}", load.num_lost <= num_cut_off))
    return Played(f"Killed replicas, {who}", figures, checks)


async def _kill_once(stage: Stage, replica: Replica) -> tuple[int, int]:
    """Kill a replica, and start it again once the proxy knows; the calls that broke at it by then, and at others."""
    before = await asyncio.to_thread(stage.envoy.hosts)
    await asyncio.to_thread(replica.server.kill)
    await asyncio.to_thread(stage.envoy.wait_until, lambda hosts: not hosts[replica.address].is_healthy)
    after = await asyncio.to_thread(stage.envoy.hosts)
    await asyncio.to_thread(replica.start)
    await stage.all_healthy()
    errors = {address: host.num_errors - before[address].num_errors for address, host in after.items()}
    return errors.pop(replica.address), sum(errors.values())


def _told(load: Load) -> str:
    examples = "".join(f"; {number}x {error}" for error, number in load.lost.most_common(3))
    return f"{load.num_lost} lost, {load.changed} changed{examples}"
