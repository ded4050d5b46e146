"""The calls that run, so that a stopping server can refuse new ones and wait for the others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import StoppingError


class Calls:
    """Counts calls on one event loop. `stop` once."""

    def __init__(self) -> None:
        self._num_running = 0
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def running(self) -> Iterator[None]:
        """One call; raises StoppingError once `stop` was called."""
        if self._stopping:
            raise StoppingError("the server is stopping")
        self._num_running += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._num_running -= 1
            if self._num_running == 0:
                self._idle.set()

    async def stop(self, *, timeout_s: float) -> int:
        """Refuse new calls and wait until the running ones have ended: how many have not in time."""
        self._stopping = True
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return self._num_running
        return 0
