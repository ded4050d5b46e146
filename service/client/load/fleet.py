"""The processes of the generator: they begin each stage together, and what they count is put together here."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any, Self

from service.client.errors import ServerError, StepstreamError
from service.client.load.generator import Generator, Orders
from service.client.load.moment import Moment, moment_of
from service.client.load.stage import Stage
from service.client.load.tally import Second, Tally

HEAD_START_S = 0.2
"""For every process to hear of a stage before it begins."""
END_S = 5.0


@dataclass(frozen=True)
class Played:
    """A stage and what came of it."""

    stage: Stage
    tally: Tally
    moments: Sequence[Moment]


class Fleet:
    """Some processes, for as long as a `with` block runs."""

    def __init__(self, orders: Orders, num_processes: int) -> None:
        self._orders = [replace(orders, number=number) for number in range(num_processes)]
        self._processes: list[Any] = []
        self._pipes: list[Connection] = []

    def __enter__(self) -> Self:
        """Once all are connected; raises StepstreamError."""
        context = multiprocessing.get_context("spawn")
        try:
            for orders in self._orders:
                pipe, end = context.Pipe()
                process = context.Process(target=_work, args=(orders, end), daemon=True)
                process.start()
                end.close()
                self._processes.append(process)
                self._pipes.append(pipe)
            for pipe in self._pipes:
                _receive(pipe)
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._end()
        self._kill()

    def run(self, stage: Stage, on_moment: Callable[[Moment], None]) -> Played:
        """Play a stage until its last request has ended; on_moment is told of each second. Raises StepstreamError."""
        start = time.monotonic() + HEAD_START_S
        for number, pipe in enumerate(self._pipes):
            pipe.send((stage.share(number, len(self._pipes)), start))
        whole = Tally()
        moments: list[Moment] = []
        seconds: dict[int, list[Second]] = {}
        running = set(self._pipes)

        def tell(*, is_over: bool) -> None:
            for number in sorted(seconds):
                if len(seconds[number]) == len(self._pipes) or is_over:
                    moments.append(moment_of(seconds.pop(number)))
                    on_moment(moments[-1])

        while running:
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                message = _receive(ready)
                if isinstance(message, Second):
                    seconds.setdefault(message.number, []).append(message)
                else:
                    whole.add(message)
                    running.discard(ready)
            tell(is_over=not running)
        return Played(stage, whole, moments)

    def _end(self) -> None:
        for pipe in self._pipes:
            with suppress(OSError):
                pipe.send(None)
        for process in self._processes:
            process.join(END_S)

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()
        for pipe in self._pipes:
            pipe.close()


def _receive(pipe: Connection) -> Any:
    try:
        message = pipe.recv()
    except EOFError:
        raise ServerError("a process of the generator has ended before its time") from None
    if isinstance(message, Exception):
        raise message
    return message


def _work(orders: Orders, pipe: Connection) -> None:
    """What each process does: Ctrl-C is for the one that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        asyncio.run(_play(orders, pipe))
    except StepstreamError as error:
        pipe.send(error)
    except (BrokenPipeError, EOFError):
        pass


async def _play(orders: Orders, pipe: Connection) -> None:
    async with Generator(orders) as generator:
        pipe.send(None)
        while (told := await asyncio.to_thread(pipe.recv)) is not None:
            stage, start = told
            pipe.send(await generator.run(stage, start, pipe.send))
