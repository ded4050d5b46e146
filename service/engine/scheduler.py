"""Decides before each step which requests leave and which join. It knows no tensors, threads, clocks or texts."""

from __future__ import annotations

from dataclasses import dataclass

from service.engine.request import Request


@dataclass(frozen=True)
class Limits:
    """max_slots rows share a step; max_queue_length requests wait; joining requests take at most
    max_encode_tokens source tokens, padded to length_multiple, between two steps (one request always may)."""

    max_slots: int
    max_queue_length: int
    max_encode_tokens: int
    length_multiple: int


@dataclass(frozen=True)
class Schedule:
    """joining: requests that join now, in the order of their arrival. expired: requests whose deadline has passed;
    they wait and run no longer."""

    joining: tuple[Request, ...]
    expired: tuple[int, ...]


class Scheduler:
    """Owns the queue and the set of running requests. First come, first served."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._queue: dict[int, Request] = {}  # in the order of arrival
        self._running: dict[int, Request] = {}
        self.queue_tokens = 0
        """Source tokens of the requests in the queue."""

    @property
    def queue_length(self) -> int:
        return len(self._queue)

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def has_work(self) -> bool:
        return bool(self._queue or self._running)

    @property
    def _num_rows(self) -> int:
        """Rows that running requests may come to take."""
        return sum(request.decoding.num_rows for request in self._running.values())

    def submit(self, request: Request) -> bool:
        """Put a request at the end of the queue; False where it is full, beyond what free slots will take at once."""
        num_free = self._limits.max_slots - self._num_rows
        if len(self._queue) >= self._limits.max_queue_length + num_free:
            return False
        self._queue[request.request_id] = request
        self.queue_tokens += len(request.source_ids)
        return True

    def is_waiting(self, request_id: int) -> bool:
        """Whether a request is in the queue."""
        return request_id in self._queue

    def cancel(self, request_id: int) -> None:
        """Forget a request, wherever it is; an unknown one is no error."""
        if self._running.pop(request_id, None) is None and (request := self._queue.pop(request_id, None)) is not None:
            self.queue_tokens -= len(request.source_ids)

    def finish(self, request_id: int) -> None:
        """A running request has made its last token."""
        del self._running[request_id]

    def schedule(self, now: float) -> Schedule:
        """What changes before the next step."""
        expired = self._expire(now)
        joining: list[Request] = []
        longest = 0
        while self._queue:
            multiple = self._limits.length_multiple
            request = next(iter(self._queue.values()))
            if self._num_rows + request.decoding.num_rows > self._limits.max_slots:
                break
            longest = max(longest, -(-len(request.source_ids) // multiple) * multiple)
            if joining and longest * (len(joining) + 1) > self._limits.max_encode_tokens:
                break
            del self._queue[request.request_id]
            self.queue_tokens -= len(request.source_ids)
            self._running[request.request_id] = request
            joining.append(request)
        return Schedule(tuple(joining), expired)

    def _expire(self, now: float) -> tuple[int, ...]:
        known = (*self._queue.values(), *self._running.values())
        expired = tuple(r.request_id for r in known if r.deadline is not None and r.deadline <= now)
        for request_id in expired:
            self.cancel(request_id)
        return expired
