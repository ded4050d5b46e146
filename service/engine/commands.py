"""What the event loop asks of an engine's thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.engine.mailbox import Mailbox
from service.engine.request import Request
from service.errors import ServiceError


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
class Withdraw:
    """End a request with an error if it still waits."""

    request_id: int
    error: ServiceError


@dataclass(frozen=True)
class Cancel:
    """Forget a request, wherever it is; nobody reads its mailbox any more."""

    request_id: int


Command = Submit | Edit | Withdraw | Cancel


class Commands:
    """Those that an engine's thread has not taken yet. From any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._commands: list[Command] = []
        self._refusal: ServiceError | None = None

    @property
    def are_closed(self) -> bool:
        """Whether the engine is to end."""
        return self._refusal is not None

    def add(self, command: Command) -> None:
        """Raises what they were closed with, unless the command ends something."""
        with self._changed:
            if self._refusal is not None and isinstance(command, Submit | Edit):
                raise self._refusal.again()
            self._commands.append(command)
            self._changed.notify()

    def put_back(self, commands: Sequence[Command]) -> None:
        """Commands that must wait, before all others."""
        with self._changed:
            self._commands[:0] = commands

    def wait(self, has_work: Callable[[], bool], on_rest: Callable[[], None]) -> None:
        """Until there is a command, or work, or no command can come; on_rest is called if that is not now."""
        with self._changed:
            while not (self._commands or self._refusal is not None or has_work()):
                on_rest()
                self._changed.wait()

    def take(self, on_submit: Callable[[Submit], None]) -> list[Command]:
        """All of them; on_submit is called with each new request before anybody else can see that it was taken."""
        with self._changed:
            for command in self._commands:
                if isinstance(command, Submit):
                    on_submit(command)
            commands, self._commands = self._commands, []
        return commands

    def close(self, refusal: ServiceError) -> None:
        """Refuse all commands from now on."""
        with self._changed:
            self._refusal = refusal
            self._changed.notify()
