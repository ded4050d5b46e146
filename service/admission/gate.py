"""Refuses calls before anything of them is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from service.admission.admission import Admission
from service.admission.pushback import pushback_ms
from service.errors import QueueFullError

WAIT_S = 0.25


class Gate:
    """Closed while every model refuses whatever a client may ask for."""

    def __init__(self, admissions: Callable[[], Iterable[Admission]]) -> None:
        """admissions gives those of the models that are loaded now."""
        self._admissions = admissions

    def check(self, client: str) -> None:
        """Raises QueueFullError while closed."""
        admissions = list(self._admissions())
        if admissions and all(admission.is_closed(client) for admission in admissions):
            raise QueueFullError("the server is full; try again later", pushback_ms=pushback_ms(WAIT_S))
