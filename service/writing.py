"""Sends the messages of a stream for as long as the client takes them. It knows no gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from service.errors import ClientStalledError

_Message = TypeVar("_Message")
LOOKS = 4
"""How often within the longest stall a stream is looked at: a stall is ended at most a quarter late."""


async def write_all(
    messages: AsyncIterator[_Message], write: Callable[[_Message], Awaitable[None]], *, max_stall_s: float
) -> None:
    """Write each message as it is made; raises ClientStalledError once one write has lasted max_stall_s seconds.

    One timer for a stream, not one for each message: nearly every write ends at once.
    """
    loop = asyncio.get_running_loop()
    limit = asyncio.timeout(None)
    writing_since: float | None = None
    timer = loop.call_later(max_stall_s / LOOKS, lambda: look())

    def look() -> None:
        nonlocal timer
        if writing_since is not None and loop.time() - writing_since >= max_stall_s:
            limit.reschedule(loop.time())
        else:
            timer = loop.call_later(max_stall_s / LOOKS, look)

    try:
        async with limit:
            async for message in messages:
                writing_since = loop.time()
                await write(message)
                writing_since = None
    except TimeoutError:
        if not limit.expired():
            raise
        raise ClientStalledError("the client has taken nothing for {limit} s", limit=max_stall_s) from None
    finally:
        timer.cancel()
