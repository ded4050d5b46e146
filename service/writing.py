"""Sends the messages of a stream for as long as the client takes them. It knows no gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

from service.errors import ClientStalledError

_Message = TypeVar("_Message")
LOOKS = 4
"""How often within the longest stall a stream is looked at: a stall is ended at most a quarter late."""


async def write_all(
    messages: AsyncIterator[_Message], write: Callable[[_Message], Awaitable[None]], *, max_stall_s: float
) -> None:
    """Write each message as it is made; raises ClientStalledError once one write has lasted max_stall_s seconds.

    Whoever cancels this never interrupts a write: gRPC keeps the memory of one whose end nobody awaits (grpc#43360).
    One that is under way then ends by itself, since its call is over, and is the last.
    """
    writing = _Writing(messages, write)
    task = asyncio.create_task(writing.run())
    try:
        while not task.done():
            await asyncio.wait((task,), timeout=max_stall_s / LOOKS)
            if writing.lasts_s >= max_stall_s:
                raise ClientStalledError("the client has taken nothing for {limit} s", limit=max_stall_s)
    finally:
        if not task.done() and not writing.end_after_this():
            task.cancel()
            await asyncio.wait((task,))
        if task.done() and not task.cancelled():
            task.exception()  # of a write that failed as its stream was cancelled, which nobody else asks for
    task.result()


class _Writing(Generic[_Message]):
    """What the task of one stream does."""

    def __init__(self, messages: AsyncIterator[_Message], write: Callable[[_Message], Awaitable[None]]) -> None:
        self._messages = messages
        self._write = write
        self._since: float | None = None
        self._is_ending = False

    @property
    def lasts_s(self) -> float:
        """Seconds since the write that is under way began; 0 between two of them."""
        return 0.0 if self._since is None else asyncio.get_running_loop().time() - self._since

    def end_after_this(self) -> bool:
        """Make the write that is under way the last one, whatever becomes of it; False where there is none."""
        self._is_ending = self._since is not None
        return self._is_ending

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        async for message in self._messages:
            self._since = loop.time()
            try:
                await self._write(message)
            except Exception:
                if self._is_ending:
                    return
                raise
            if self._is_ending:
                return
            self._since = None
