"""What the event loop asks of an engine's thread."""

from __future__ import annotations

from dataclasses import dataclass

from service.engine.mailbox import Mailbox
from service.engine.request import Request
from service.errors import ServiceError


@dataclass(frozen=True)
class Submit:
    """Queue a request."""

    request: Request
    mailbox: Mailbox


@dataclass(frozen=True)
class Edit:
    """Give an editable request another prefix."""

    request: Request
    prefix: tuple[int, ...]


@dataclass(frozen=True)
class Withdraw:
    """End a request with an error if it still waits."""

    request_id: int
    error: ServiceError


@dataclass(frozen=True)
class Cancel:
    """Forget a request."""

    request_id: int


Command = Submit | Edit | Withdraw | Cancel
