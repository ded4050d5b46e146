"""What the event loop asks of an engine's thread, and where the answers go."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from service.engine.request import Request, StepResult
from service.errors import ServiceError

Event = StepResult | ServiceError
Mailbox = asyncio.Queue[Event]


@dataclass(frozen=True)
class Submit:
    """Translate; the mailbox gets every event, a ServiceError as the last one."""

    request: Request
    mailbox: Mailbox


@dataclass(frozen=True)
class Edit:
    """Go on from another prefix."""

    request: Request
    prefix: tuple[int, ...]


@dataclass(frozen=True)
class Cancel:
    """Forget a request, wherever it is; nobody reads its mailbox any more."""

    request_id: int


Command = Submit | Edit | Cancel


def post(events: list[tuple[Mailbox, Event]]) -> None:
    """On the event loop."""
    for mailbox, event in events:
        mailbox.put_nowait(event)
