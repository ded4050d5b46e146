"""Takes what an engine's thread has to say to the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from service.engine.mailbox import Delivery, Event, Mailbox
from service.errors import ServiceError

_Argument = TypeVar("_Argument")


class Mailboxes:
    """One for each request, from when it is known until its last event. `open` first, on the event loop."""

    def __init__(self) -> None:
        self._mailboxes: dict[int, Mailbox] = {}
        self._delivery: Delivery | None = None

    def open(self) -> None:
        """Events go to the event loop that runs now."""
        self._delivery = Delivery(asyncio.get_running_loop())

    def __contains__(self, request_id: int) -> bool:
        return request_id in self._mailboxes

    def ids(self) -> list[int]:
        """The requests that may still hear something."""
        return list(self._mailboxes)

    def add(self, request_id: int, mailbox: Mailbox) -> None:
        self._mailboxes[request_id] = mailbox

    def remove(self, request_id: int) -> None:
        """The request hears nothing more; one that does already is no error."""
        self._mailboxes.pop(request_id, None)

    def deliver(self, events: Sequence[tuple[int, Event]]) -> None:
        """All of them in one call from this thread to the event loop."""
        self._post([(self._mailboxes[request_id], event) for request_id, event in events])

    def wait_for_loop(self) -> None:
        """Let the event loop catch up, if more than the last step waits for it. On the engine's thread."""
        assert self._delivery is not None
        self._delivery.wait_for_loop()

    def end(self, request_id: int, error: ServiceError) -> None:
        """The request's last event."""
        self._post([(self._mailboxes.pop(request_id), error)])

    def end_all(self, error: ServiceError) -> None:
        """The last event of every request. From any thread."""
        mailboxes = list(self._mailboxes.values())
        self._mailboxes.clear()
        self._post([(mailbox, error) for mailbox in mailboxes])

    def on_loop(self, call: Callable[[_Argument], None], argument: _Argument) -> None:
        """Call on the event loop; nothing, where that has ended and left this thread behind."""
        assert self._delivery is not None
        with suppress(RuntimeError):
            self._delivery.loop.call_soon_threadsafe(call, argument)

    def _post(self, events: list[tuple[Mailbox, Event]]) -> None:
        if events:
            assert self._delivery is not None
            with suppress(RuntimeError):
                self._delivery.deliver(events)
