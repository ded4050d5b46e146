"""Refuses calls before anything of them is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from service.admission.admission import Admission
from service.admission.pushback import pushback_ms
from service.admission.ticket import Claim
from service.engine.request import Priority
from service.errors import QueueFullError

WAIT_S = 0.25


class Gate:
    """Closed while every model refuses whatever a client may ask for with a priority."""

    def __init__(self, admissions: Callable[[], Iterable[Admission]]) -> None:
        """admissions gives those of the models that are loaded now."""
        self._admissions = admissions

    @property
    def may_close(self) -> bool:
        """Whether no model has a free row: as long as one has, nobody is refused."""
        return all(admission.is_full for admission in self._admissions())

    def check(self, client: str, priority: Priority = Priority.HIGH) -> None:
        """Raises QueueFullError while closed."""
        admissions = list(self._admissions())
        if admissions and all(admission.is_closed(Claim(client, priority)) for admission in admissions):
            for admission in admissions:
                admission.count(is_refused=True)
            raise QueueFullError("the server is full; try again later", pushback_ms=pushback_ms(WAIT_S))
