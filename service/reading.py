"""Reads the messages of a call as they come. It knows no gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

_Message = TypeVar("_Message")


async def read_all(messages: AsyncIterator[_Message]) -> AsyncGenerator[_Message, None]:
    """Each message, in order.

    Whoever cancels this never interrupts a reading: gRPC keeps the memory of one whose end nobody awaits (grpc#43360).
    One that is under way then ends by itself, since its call is over, and nobody gets what it reads.
    """
    source = aiter(messages)
    while True:
        reading = asyncio.ensure_future(anext(source))
        reading.add_done_callback(_ask_for_error)
        try:
            message = await asyncio.shield(reading)
        except StopAsyncIteration:
            return
        yield message


def _ask_for_error(reading: asyncio.Future[_Message]) -> None:
    """Of a reading that nobody awaits any more, nobody else asks."""
    if not reading.cancelled():
        reading.exception()
