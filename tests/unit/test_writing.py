"""A stream's messages reach a client one after another, and nothing of a write is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.errors import ClientStalledError
from service.writing import write_all

LONG_S = 60.0


class Client:
    """Takes a message when it is let; `fails` breaks the write that is under way."""

    def __init__(self, *, takes: int) -> None:
        self.taken: list[int] = []
        self.has_begun = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.was_interrupted = False
        self.fails = False
        self._takes = takes

    async def write(self, message: int) -> None:
        if len(self.taken) == self._takes:
            self.has_begun.set()
            try:
                await self.goes_on.wait()
            except asyncio.CancelledError:
                self.was_interrupted = True
                raise
        if self.fails:
            raise ConnectionError
        self.taken.append(message)


class Messages:
    """Numbers from 0; after `ready` of them they wait for ever."""

    def __init__(self, *, ready: int = 5, then_wait: bool = False) -> None:
        self.waits, self.is_closed = asyncio.Event(), False
        self._ready, self._then_wait = ready, then_wait

    async def __call__(self) -> AsyncIterator[int]:
        try:
            for number in range(self._ready):
                yield number
            if self._then_wait:
                self.waits.set()
                await asyncio.Event().wait()
        finally:
            self.is_closed = True


async def ended(task: asyncio.Task[None]) -> None:
    await asyncio.wait((task,))


async def test_every_message_is_written_in_its_order() -> None:
    client = Client(takes=-1)
    await write_all(Messages()(), client.write, max_stall_s=LONG_S)
    assert client.taken == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancellation_lets_the_write_under_way_end_and_begins_no_other(fails: bool) -> None:
    client = Client(takes=2)
    task = asyncio.create_task(write_all(Messages()(), client.write, max_stall_s=LONG_S))
    await client.has_begun.wait()
    task.cancel()
    await ended(task)
    assert task.cancelled()
    client.fails = fails
    client.goes_on.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not client.was_interrupted
    assert client.taken == ([0, 1] if fails else [0, 1, 2])


async def test_a_cancellation_between_two_messages_ends_whatever_makes_them() -> None:
    client, messages = Client(takes=-1), Messages(ready=1, then_wait=True)
    task = asyncio.create_task(write_all(messages(), client.write, max_stall_s=LONG_S))
    await messages.waits.wait()
    task.cancel()
    await ended(task)
    assert task.cancelled()
    assert messages.is_closed


async def test_a_client_that_takes_nothing_is_given_up() -> None:
    client = Client(takes=1)
    with pytest.raises(ClientStalledError):
        await write_all(Messages()(), client.write, max_stall_s=0.02)
    assert client.taken == [0]
    assert not client.was_interrupted


async def test_a_slow_source_is_no_stall() -> None:
    async def slow() -> AsyncIterator[int]:
        yield 0
        await asyncio.sleep(0.1)
        yield 1

    client = Client(takes=-1)
    await write_all(slow(), client.write, max_stall_s=0.02)
    assert client.taken == [0, 1]


async def test_what_goes_wrong_reaches_the_caller() -> None:
    client = Client(takes=-1)
    client.fails = True
    with pytest.raises(ConnectionError):
        await write_all(Messages()(), client.write, max_stall_s=LONG_S)

    async def given_up() -> AsyncIterator[int]:
        yield 0
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await write_all(given_up(), Client(takes=-1).write, max_stall_s=LONG_S)
