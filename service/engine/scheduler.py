"""Decides before each step which requests leave and which join. It knows no tensors, threads, clocks or texts."""

from __future__ import annotations

from dataclasses import dataclass

from service.engine.fair_queue import FairQueue
from service.engine.request import Request
from service.engine.row_limit import RowLimit

UNWATCHED_FACTOR = 16
"""How many times as many tokens one encode may take while nobody waits for the next token of a running request: then
many that join together share more steps."""


@dataclass(frozen=True)
class Limits:
    """max_slots rows share a step; joining requests take at most max_encode_tokens source tokens, padded to
    length_multiple, between two steps that somebody watches (one request always may)."""

    max_slots: int
    max_encode_tokens: int
    length_multiple: int


@dataclass(frozen=True)
class Schedule:
    """joining: requests that join now, the first one first. expired: requests whose deadline has passed;
    they wait and run no longer."""

    joining: tuple[Request, ...]
    expired: tuple[int, ...]


class Scheduler:
    """Owns the queue and the set of running requests. Who joins next is the queue's to say; how long the queue may grow
    is decided before a request is submitted."""

    def __init__(self, limits: Limits, row_limit: RowLimit | None = None) -> None:
        """row_limit: of limits.max_slots rows, which another may hold to fewer."""
        self._limits = limits
        self._row_limit = row_limit or RowLimit(limits.max_slots)
        self._queue = FairQueue()
        self._running: dict[int, Request] = {}

    @property
    def queue_length(self) -> int:
        return len(self._queue)

    @property
    def queue_tokens(self) -> int:
        """Source tokens of the requests in the queue."""
        return self._queue.num_tokens

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def has_work(self) -> bool:
        return len(self._queue) > 0 or bool(self._running)

    @property
    def _num_rows(self) -> int:
        """Rows that running requests may come to take."""
        return sum(request.decoding.num_rows for request in self._running.values())

    def submit(self, request: Request) -> None:
        """Put a request into the queue."""
        self._queue.add(request)

    def is_waiting(self, request_id: int) -> bool:
        """Whether a request is in the queue."""
        return request_id in self._queue

    def cancel(self, request_id: int) -> None:
        """Forget a request, wherever it is; an unknown one is no error."""
        if self._running.pop(request_id, None) is None:
            self._queue.remove(request_id)

    def finish(self, request_id: int) -> None:
        """A running request has made its last token."""
        del self._running[request_id]

    def schedule(self, now: float) -> Schedule:
        """What changes before the next step."""
        expired = self._expire(now)
        joining: list[Request] = []
        longest = 0
        multiple = self._limits.length_multiple
        most_tokens = self._limits.max_encode_tokens * (1 if self._is_watched else UNWATCHED_FACTOR)
        while (request := self._queue.first(now)) is not None:
            num_rows = self._num_rows
            if num_rows >= self._row_limit.num_rows or num_rows + request.decoding.num_rows > self._limits.max_slots:
                break
            longest = max(longest, -(-len(request.source_ids) // multiple) * multiple)
            if joining and longest * (len(joining) + 1) > most_tokens:
                break
            self._queue.take(request)
            self._running[request.request_id] = request
            joining.append(request)
        return Schedule(tuple(joining), expired)

    @property
    def _is_watched(self) -> bool:
        """Whether somebody waits for the next token of a running request."""
        return any(request.streamed for request in self._running.values())

    def _expire(self, now: float) -> tuple[int, ...]:
        known = (*self._queue, *self._running.values())
        expired = tuple(r.request_id for r in known if r.deadline is not None and r.deadline <= now)
        for request_id in expired:
            self.cancel(request_id)
        return expired
