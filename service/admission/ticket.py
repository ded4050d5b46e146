"""One request on its way through: what it asks for, what of it waits, and what it holds until it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from service.engine.request import Priority
from service.errors import ServiceError

if TYPE_CHECKING:
    from service.admission.admission import Admission


@dataclass(frozen=True)
class Claim:
    """Who asks and how urgently: the client that the request counts for, and the deadline on the clock of
    `time.monotonic`, in seconds, or None."""

    client: str = ""
    priority: Priority = Priority.NORMAL
    deadline: float | None = None


class Size(NamedTuple):
    """One source of a request: most rows that its search takes, and its tokens."""

    rows: int
    tokens: int

    @property
    def work(self) -> int:
        return self.rows * self.tokens


class Ticket:
    """A request that has come in. A context manager: whatever it holds is given back at its end."""

    def __init__(self, admission: Admission, claim: Claim) -> None:
        self.claim = claim
        self.places: tuple[SequencePlace, ...] = ()
        self.num_waiting = 0
        self.has_begun = False
        self.refusal: ServiceError | None = None
        """Why it was displaced."""
        self._admission = admission
        self._is_arriving = True
        admission.arrived()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._settle()
        places, self.places = (
            self.places,
            (),
        )  # which know the ticket: it would hold the engine until garbage is collected
        for place in places:
            place.left()

    def admit(self, sizes: Sequence[Size]) -> Sequence[SequencePlace]:
        """Take all sources of the request, a place for each, or none: raises QueueFullError, DeadlineExceededError."""
        self._settle()
        self._admission.decide(self.claim, sizes)
        self.places = tuple(SequencePlace(self, self._admission, size) for size in sizes)
        self.num_waiting = len(sizes)
        self._admission.took(self)
        return self.places

    def _settle(self) -> None:
        if self._is_arriving:
            self._is_arriving = False
            self._admission.settled()

    def displace(self, error: ServiceError) -> None:
        """End a request of which nothing has begun."""
        self.refusal = error
        for place in self.places:
            place.refuse(error)


class SequencePlace:
    """The place of one source of a request: see `service.engine.mailbox.Place`."""

    def __init__(self, ticket: Ticket, admission: Admission, size: Size) -> None:
        self.size = size
        self.client = ticket.claim.client
        self.priority = ticket.claim.priority
        self._ticket = ticket
        self._admission = admission
        self._waits = True
        self._has_rows = True
        self._withdraw: Callable[[ServiceError], None] | None = None

    def submitted(self, withdraw: Callable[[ServiceError], None]) -> None:
        if self._ticket.refusal is not None:
            raise self._ticket.refusal
        self._withdraw = withdraw

    def joined(self) -> None:
        if self._waits:
            self._waits = False
            self._admission.joined(self._ticket, self.size, has_begun=True)

    def served(self, seconds: float) -> None:
        self._admission.served(self.size, seconds)

    def left(self) -> None:
        if self._waits:
            self._waits = False
            self._admission.joined(self._ticket, self.size, has_begun=False)
        self.rest()
        self._withdraw = None

    def rest(self) -> None:
        """Give the rows back, until `resume`."""
        if self._has_rows:
            self._has_rows = False
            self._admission.rows_changed(-self.size.rows)

    def resume(self) -> None:
        """Take the rows again, whether or not they are free."""
        if not self._has_rows:
            self._has_rows = True
            self._admission.rows_changed(self.size.rows)

    def refuse(self, error: ServiceError) -> None:
        """End what waits."""
        if self._withdraw is not None:
            self._withdraw(error)
