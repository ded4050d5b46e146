"""How the engine's thread reaches whoever waits on the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from service.engine.request import Priority, StepResult
from service.errors import ServiceError

EVENTS_A_TURN = 4
"""The event loop takes one new call in two of its turns. A step of 64 rows, sent in one turn, would make it slow to
refuse and slow to admit."""


LONGEST_BEHIND_S = 1.0
"""For which an engine waits for its event loop. One that ran ahead would take the time of the loop that cannot keep up,
and every token and every refusal would be late."""


class Place(Protocol):
    """What a request was admitted with, for whoever keeps count. Called on the event loop."""

    @property
    def client(self) -> str:
        """Whom it counts for."""

    @property
    def priority(self) -> Priority: ...

    def submitted(self, withdraw: Callable[[ServiceError], None]) -> None:
        """The request waits from now on. `withdraw` ends it with an error if it still waits; it raises nothing. Raises
        ServiceError where the place was lost already."""

    def joined(self) -> None:
        """The request has left the queue."""

    def served(self, seconds: float) -> None:
        """Its whole target was made, in so long since then, however fast its caller takes it."""

    def left(self) -> None:
        """The request has ended, and its rows are free."""


class Unlimited:
    """The place of a request that nobody keeps count of."""

    client = ""
    priority = Priority.NORMAL

    def submitted(self, withdraw: Callable[[ServiceError], None]) -> None:
        pass

    def joined(self) -> None:
        pass

    def served(self, seconds: float) -> None:
        pass

    def left(self) -> None:
        pass


UNLIMITED = Unlimited()


class Joined:
    """The request has left the queue."""


JOINED = Joined()
Event = StepResult | ServiceError | Joined


class Mailbox:
    """What has come of one request; `post` and `get` on the event loop."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._events: asyncio.Queue[StepResult | ServiceError] = asyncio.Queue()

    def post(self, event: Event) -> None:
        """Put an event behind the others; the place is told at once of a request that has joined."""
        if isinstance(event, Joined):
            self._place.joined()
        else:
            self._events.put_nowait(event)

    async def get(self) -> StepResult:
        """The next result; raises the ServiceError that ended the request."""
        event = await self._events.get()
        if isinstance(event, ServiceError):
            raise event.again()
        return event


class Delivery:
    """Posts an engine's events in their order, a few in each turn of the event loop, so that a step of many rows does
    not keep new calls waiting until all of its messages are sent."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._events: deque[tuple[Mailbox, Event]] = deque()
        self._num_last = self._num_delivered = self._num_posted = 0
        self._caught_up = threading.Event()

    @property
    def _is_behind(self) -> bool:
        return self._num_delivered - self._num_posted > self._num_last

    def deliver(self, events: list[tuple[Mailbox, Event]]) -> None:
        """Of any thread."""
        self._num_last = len(events)
        self._num_delivered += len(events)
        self.loop.call_soon_threadsafe(self._take, events)

    def wait_for_loop(self) -> None:
        """Until all but what was delivered last is posted; at most LONGEST_BEHIND_S. Of the thread that delivers."""
        if self._is_behind:
            self._caught_up.clear()
            if self._is_behind:
                self._caught_up.wait(LONGEST_BEHIND_S)

    def _take(self, events: list[tuple[Mailbox, Event]]) -> None:
        is_idle = not self._events
        self._events += events
        if is_idle:
            self._post()

    def _post(self) -> None:
        for _ in range(min(EVENTS_A_TURN, len(self._events))):
            mailbox, event = self._events.popleft()
            mailbox.post(event)
            self._num_posted += 1
        if not self._is_behind:
            self._caught_up.set()
        if self._events:
            self.loop.call_soon(self._post)
