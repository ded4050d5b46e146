"""A call's messages reach its handler one after another, and no reading of one is interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from service.reading import read_all


class Call:
    """Gives what it has, and then waits until it is over."""

    def __init__(self, *messages: int) -> None:
        self.waits, self.is_over = asyncio.Event(), asyncio.Event()
        self.was_interrupted = self.has_ended = self.fails = False
        self._messages = messages

    async def messages(self) -> AsyncIterator[int]:
        for message in self._messages:
            yield message
        self.waits.set()
        try:
            await self.is_over.wait()
        except asyncio.CancelledError:
            self.was_interrupted = True
            raise
        self.has_ended = True
        if self.fails:
            raise ConnectionError


async def take(call: Call, taken: list[int]) -> None:
    async with aclosing(read_all(call.messages())) as messages:
        async for message in messages:
            taken.append(message)


async def test_each_message_comes_in_order() -> None:
    call, taken = Call(1, 2, 3), list[int]()
    call.is_over.set()
    await take(call, taken)
    assert taken == [1, 2, 3]


async def test_what_a_reading_raises_is_the_readers() -> None:
    call, taken = Call(1), list[int]()
    call.fails = True
    call.is_over.set()
    with pytest.raises(ConnectionError):
        await take(call, taken)
    assert taken == [1]


@pytest.mark.parametrize("fails", [False, True])
async def test_whoever_is_cancelled_interrupts_no_reading(*, fails: bool) -> None:
    """It ends with its call; what it raises then is nobody's, and is not reported as forgotten."""
    forgotten: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: forgotten.append(context))
    call, taken = Call(1), list[int]()
    call.fails = fails
    task = asyncio.create_task(take(call, taken))
    await call.waits.wait()
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled()
    assert not call.was_interrupted
    call.is_over.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert call.has_ended
    assert not call.was_interrupted
    assert (taken, forgotten) == ([1], [])
