"""The calls that run: what is known of each, who is told of it, and how a stopping server refuses new ones and waits
for the others. It knows no gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from service.errors import StoppingError


@dataclass
class Call:
    """One call, filled in by whatever layer learns of it. Times in seconds, on the clock of `time.monotonic`."""

    request_id: str
    method: str
    peer: str = ""
    caller: str = ""
    """Whom the credentials name; empty where none are asked for."""
    model: str = ""
    version: int = 0
    num_source_tokens: int = 0
    num_target_tokens: int = 0
    num_unknown_fields: int = 0
    """Fields of its messages that a newer client may know."""
    deadline: float | None = None
    """The caller's, or the server's own where the caller has none."""
    started_at: float = field(default_factory=time.monotonic)
    joined_at: float | None = None
    """When the first of its sequences left the queue."""
    encoded_at: float | None = None
    """When the source of that sequence was encoded."""
    first_token_at: float | None = None
    """When the first token of a stream was made; None for a call whose tokens nobody sees."""
    last_token_at: float | None = None
    ended_at: float | None = None
    code: str = ""
    """The gRPC status, once the call has ended."""

    @property
    def client(self) -> str:
        """Whom the call counts for: the caller, or else the address that it comes from, without its port."""
        if self.caller:
            return self.caller
        return self.peer.rpartition(":")[0] if self.peer.startswith(("ipv4:", "ipv6:")) else self.peer

    def end_within(self, seconds: float | None) -> None:
        """Its deadline is not later than so many seconds from its start; None changes nothing."""
        if seconds is not None:
            end = self.started_at + seconds
            self.deadline = end if self.deadline is None else min(end, self.deadline)

    def progress(self, num_tokens: int, *, joined_at: float, encoded_at: float, made_at: float) -> None:
        """A step has made tokens of one of its sequences."""
        if self.joined_at is None:
            self.joined_at, self.encoded_at = joined_at, encoded_at
        self.num_target_tokens += num_tokens
        self.last_token_at = made_at


class CallObserver(Protocol):
    """Told of every call, on the event loop."""

    def call_started(self, call: Call) -> None: ...

    def call_ended(self, call: Call) -> None: ...


current_call: ContextVar[Call] = ContextVar("current_call")
"""The call that the running task serves."""


def find_call() -> Call:
    """The call that the running task serves; outside of any, one that nobody hears of."""
    return current_call.get(None) or Call("", "")


class Calls:
    """Knows the calls under way on one event loop. `stop` once."""

    def __init__(self, observers: Sequence[CallObserver] = ()) -> None:
        self._observers = tuple(observers)
        self._running: dict[int, Call] = {}
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def running(self, call: Call) -> Iterator[None]:
        """One call, for as long as the block runs; raises StoppingError once `stop` was called."""
        for observer in self._observers:
            observer.call_started(call)
        self._running[id(call)] = call
        self._idle.clear()
        try:
            if self._stopping.is_set():
                raise StoppingError("the server is stopping", pushback_ms=0)
            yield
        finally:
            del self._running[id(call)]
            if not self._running:
                self._idle.set()

    def has(self, peer: str) -> bool:
        """Whether a call of this peer is under way."""
        return any(call.peer == peer for call in self._running.values())

    def ended(self, call: Call) -> None:
        """A call has its status."""
        call.ended_at = time.monotonic()
        for observer in self._observers:
            observer.call_ended(call)

    async def until_stopping(self) -> None:
        """Until new calls are refused: one that would stay open without a request should end then."""
        await self._stopping.wait()

    async def stop(self, *, timeout_s: float) -> int:
        """Refuse new calls and wait until the running ones have ended: how many have not in time."""
        self._stopping.set()
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return len(self._running)
        return 0
