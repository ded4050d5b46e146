"""Servers under attack: a steady one, and one that is killed and started again."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import grpc.aio

from hostile.checks import Check, balance_check, ends_well
from hostile.growth import Sample
from hostile.server import ServerLostError, ServerProcess
from hostile.soak import management

FLAGS = ("--max-slots", "32", "--max-queue-length", "64", "--grace-s", "5", *management.FLAGS)


class Replica:
    """One server and a connection to it. `generation` counts its starts; nothing of it is safe between two."""

    def __init__(self, name: str, store: Path, log: Path, broken_by: tuple[Path, ...]) -> None:
        self.name = name
        self._store, self._log, self._broken_by = store, log, broken_by
        self.generation = 0
        self.is_up = False
        self.samples: list[Sample] = []
        """The work done is seconds."""

    async def start(self) -> None:
        self.server = ServerProcess(self._store, self._log, FLAGS, self._broken_by)
        await asyncio.to_thread(self.server.start)
        self.channel = grpc.aio.insecure_channel(
            self.server.address, options=(("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
        )
        self.generation += 1
        self.is_up = True

    async def kill(self) -> None:
        """SIGKILL: whatever runs on it is lost."""
        self._fall()
        await asyncio.to_thread(self.server.kill)
        await self.channel.close()

    async def stop(self) -> int:
        """SIGTERM: what runs on it ends; the exit status."""
        self._fall()
        status = await asyncio.to_thread(self.server.stop)
        await self.channel.close()
        return status

    def _fall(self) -> None:
        self.generation += 1
        self.is_up = False

    async def sample(self, seconds: float) -> None:
        """Note its memory, if it runs."""
        try:
            memory = await asyncio.to_thread(self.server.memory)
        except (ServerLostError, OSError):
            return
        self.samples.append(Sample(seconds, memory))

    async def final_checks(self) -> list[Check]:
        """Its counts and its end; it has ended then."""
        await self.channel.close()
        if not self.server.is_alive:
            return [await asyncio.to_thread(ends_well, self.server)]
        balance = await asyncio.to_thread(balance_check, self.server)
        end = await asyncio.to_thread(ends_well, self.server)
        return [Check(f"{self.name}: {check.promise}", check.found, check.holds) for check in (balance, end)]


class Replicas:
    """The steady one and the one that falls."""

    def __init__(self, store: Path, folder: Path, broken_by: tuple[Path, ...] = ()) -> None:
        self.steady = Replica("steady replica", store, folder / "steady.log", broken_by)
        self.falling = Replica("falling replica", store, folder / "falling.log", broken_by)
        self.may_fall = asyncio.Lock()

    @property
    def both(self) -> tuple[Replica, Replica]:
        return self.steady, self.falling

    def pick(self, order: random.Random) -> Replica:
        """The steady one three times of four, and while the other one is down."""
        return self.falling if order.random() < 0.25 and self.falling.is_up else self.steady

    async def start(self) -> None:
        for replica in self.both:
            await replica.start()

    def kill(self) -> None:
        """Leave no process behind, whatever happened."""
        for replica in self.both:
            if hasattr(replica, "server"):
                replica.server.kill()
