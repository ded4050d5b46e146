"""A client that does nothing wrong, beside one that does nothing else."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from service.client.client import Client
from service.client.types import StreamEvent
from tests.faults.commands import MODEL, SENTENCE

LIMIT_S = 120.0


class Victim:
    """Streams the same sentence again and again, on a thread and a connection of its own. As a block: it streams while
    the block runs, and the end of the block raises AssertionError unless every translation was as the first one."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._expected: list[StreamEvent] = []
        self._num_translated = 0
        self._errors: list[BaseException] = []
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._stream)

    def __enter__(self) -> Self:
        self._thread.start()
        self.wait_for(1)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        try:
            if kind is None:
                self.wait_for(2)  # the first of them may have begun before the fault was over; the second has not
        finally:
            self._stopping.set()
            self._thread.join()
        if kind is None:
            self._require_no_error()

    def wait_for(self, number: int) -> None:
        """Until so many more translations are complete."""
        deadline = time.monotonic() + LIMIT_S
        with self._changed:
            wanted = self._num_translated + number
            while self._num_translated < wanted:
                self._require_no_error()
                assert self._changed.wait(deadline - time.monotonic()), "the victim gets nothing any more"

    def _require_no_error(self) -> None:
        assert not self._errors, f"the victim noticed: {self._errors[0]!r}"

    def _stream(self) -> None:
        try:
            with Client(self._address) as client:
                while not self._stopping.is_set():
                    self._translated(list(client.stream(SENTENCE, model=MODEL, timeout_s=LIMIT_S)))
        except BaseException as error:
            with self._changed:
                self._errors.append(error)
                self._changed.notify_all()

    def _translated(self, events: list[StreamEvent]) -> None:
        steps = [event for event in events if not hasattr(event, "timings")]
        with self._changed:
            self._expected = self._expected or steps
            assert steps == self._expected, "another translation than before"
            self._num_translated += 1
            self._changed.notify_all()
