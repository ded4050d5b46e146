"""What waits for one model, counted by client. It knows no clock."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.engine.request import Priority


@dataclass
class Usage:
    """What of one client waits: requests, their source tokens, and by priority their work (tokens times rows)."""

    requests: int = 0
    tokens: int = 0
    work: dict[Priority, int] = field(default_factory=lambda: dict.fromkeys(Priority, 0))

    def work_from(self, priority: Priority) -> int:
        """Of this priority and above."""
        return sum(work for of, work in self.work.items() if of >= priority)


class Backlog:
    """Sums over the clients, in which each counts for the others up to its share alone."""

    def __init__(self, *, requests_share: float, tokens_share: float) -> None:
        self._requests_share = requests_share
        self._tokens_share = tokens_share
        self._clients: dict[str, Usage] = {}
        self._requests = self._tokens = 0.0
        self._work = dict.fromkeys(Priority, 0)

    @property
    def is_empty(self) -> bool:
        return not self._clients

    def add(self, client: str, priority: Priority, *, requests: int, tokens: int, work: int) -> None:
        """Count, or with negative numbers uncount."""
        usage = self._clients.setdefault(client, Usage())
        self._requests -= min(usage.requests, self._requests_share)
        self._tokens -= min(usage.tokens, self._tokens_share)
        usage.requests += requests
        usage.tokens += tokens
        usage.work[priority] += work
        self._work[priority] += work
        self._requests += min(usage.requests, self._requests_share)
        self._tokens += min(usage.tokens, self._tokens_share)
        if not usage.requests:
            del self._clients[client]

    @property
    def work(self) -> int:
        """Of all clients, in full."""
        return sum(self._work.values())

    def has_below(self, priority: Priority) -> bool:
        """Whether anything of a lower priority waits."""
        return any(work for of, work in self._work.items() if of < priority)

    def usage(self, client: str) -> Usage:
        return self._clients.get(client, _NOTHING)

    def requests_before(self, client: str) -> float:
        """All of the client, and of the others what counts."""
        own = self.usage(client).requests
        return self._requests - min(own, self._requests_share) + own

    def tokens_before(self, client: str) -> float:
        """All of the client, and of the others what counts."""
        own = self.usage(client).tokens
        return self._tokens - min(own, self._tokens_share) + own

    def is_over_share(self, client: str, tokens: int) -> bool:
        """Whether one more request of so many tokens would have more than a share, while others wait. One request alone
        never has."""
        own = self._clients.get(client)
        if own is None or len(self._clients) == 1:
            return False
        return own.requests + 1 > self._requests_share or own.tokens + tokens > self._tokens_share

    def work_before(self, client: str, work: int, priority: Priority = Priority.LOW) -> int:
        """Work of this priority and above that is begun before so much more of the client has left the queue, itself
        included: all of the client's own, and as much of each other client, since they take turns."""
        own = self.usage(client).work_from(priority) + work
        return own + sum(min(u.work_from(priority), own) for c, u in self._clients.items() if c != client)


_NOTHING = Usage()
