"""Who of those that wait is next: by priority, and among the clients of one priority in turn. It knows no clock."""

from __future__ import annotations

from collections.abc import Iterator

from service.engine.request import Priority, Request

AGING_S = 1.0
"""Seconds of waiting after which a request counts as one of the next priority: no stream of more urgent ones keeps it
waiting for ever."""
MAX_IDLE_CLIENTS = 64

_Line = tuple[str, Priority]


class FairQueue:
    """Requests in the order of their priority; of one priority, the next is the oldest request of the client for which
    the least work was begun (weighted fair queueing, Demers et al. 1989, with equal weights). The work of a request is
    its source tokens times its rows."""

    def __init__(self) -> None:
        self._lines: dict[_Line, dict[int, Request]] = {}
        self._requests: dict[int, Request] = {}
        self.num_tokens = 0
        """Of all sources."""
        self._begun: dict[str, float] = {}  # work begun for each client; a newcomer has the share of the others
        self._share = 0.0  # of all work begun so far, what a client got that waited all the time

    def __len__(self) -> int:
        return len(self._requests)

    def __contains__(self, request_id: int) -> bool:
        return request_id in self._requests

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests.values())

    def add(self, request: Request) -> None:
        self._requests[request.request_id] = request
        self.num_tokens += len(request.source_ids)
        self._lines.setdefault((request.client, request.priority), {})[request.request_id] = request
        self._begun[request.client] = max(self._begun.get(request.client, 0.0), self._share)

    def remove(self, request_id: int) -> None:
        """Forget a request; an unknown one is no error."""
        if (request := self._requests.pop(request_id, None)) is None:
            return
        self.num_tokens -= len(request.source_ids)
        line = request.client, request.priority
        del self._lines[line][request_id]
        if not self._lines[line]:
            del self._lines[line]
        self._forget_idle_clients()

    def first(self, now: float) -> Request | None:
        """Who is next."""
        heads = (next(iter(line.values())) for line in self._lines.values())
        return min(heads, key=lambda request: (-_rank(request, now), self._begun[request.client]), default=None)

    def take(self, request: Request) -> None:
        """Remove a request whose work begins."""
        work = request.decoding.num_rows * len(request.source_ids)
        self._share += work / len(self._lines)
        self._begun[request.client] += work
        self.remove(request.request_id)

    def _forget_idle_clients(self) -> None:
        """Those that wait no more, once others were given as much as they."""
        if len(self._begun) > MAX_IDLE_CLIENTS + len(self._lines):
            waiting = {client for client, _ in self._lines}
            self._begun = {c: begun for c, begun in self._begun.items() if c in waiting or begun > self._share}


def _rank(request: Request, now: float) -> int:
    """The priority, with what waiting has added."""
    return min(request.priority + int((now - request.submitted_at) / AGING_S), Priority.HIGH)
