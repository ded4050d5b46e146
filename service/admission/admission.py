"""Which requests one model takes: each as a whole, at once, on the event loop. It knows neither gRPC nor texts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.admission.backlog import Backlog
from service.admission.pace import Pace
from service.admission.pushback import pushback_ms
from service.admission.refused_share import RefusedShare
from service.admission.standing import Standing
from service.admission.ticket import Claim, Size, Ticket
from service.engine.row_limit import RowLimit
from service.errors import DeadlineExceededError, QueueFullError

BURST_SHARE = 0.05
"""Of the longest wait: how long a queue may grow as that of a burst."""
STANDING_SHARE, CROWDED_STANDING_SHARE = 0.5, 0.01
"""Of the longest wait: the wait that a queue which stands is kept to, and that while the server is crowded. Callers who
wait for each other's ends may keep a queue standing, and are served; a server that is offered too much all the time
keeps its queue short."""
AFTER_CROWD_SHARE = 0.1
"""Of the longest wait: the wait that a queue is kept to, whether or not it stands, until for AFTER_CROWD_S no more than
CALM_SHARE was refused. A proxy takes part of a crowd away and sends it again: that is no burst."""
AFTER_CROWD_S = 10.0
"""Several windows of such a proxy (sampling_window in deploy/envoy.yaml)."""
PAUSE_S = 1.0
"""An empty queue for so long ends what stood."""
CROWDED_SHARE, CALM_SHARE = 0.3, 0.12
"""Of the requests that come, those refused from which on a server is crowded, and those down to which it is: rows are
held to the knee of each engine's throughput meanwhile. The second is more than that throughput is below the greatest
(see KNEE), or a server that is not offered too much could be kept there."""
WAITING_HALF_LIFE_S = 2.0
SERVING_HALF_LIFE_S = 30.0
UNKNOWN_WAIT_S = 0.25
"""For a pushback, where nothing is known of the queue yet."""
_ANY = Size(rows=1, tokens=1)

TOO_MANY_REQUESTS = QueueFullError("too many requests wait; try again later")
TOO_MANY_TOKENS = QueueFullError("too many source tokens wait; try again later")
SHARE_TAKEN = QueueFullError("this client has its share of the queue; try again later")
TOO_LONG = QueueFullError("the queue is too long; try again later")
TOO_LATE = QueueFullError("the queue takes longer than until the deadline; try again later")
DISPLACED = QueueFullError("a request of higher priority took the place; try again later")


@dataclass(frozen=True)
class AdmissionLimits:
    """At most max_queue_length requests wait, of max_queue_tokens source tokens, and none longer than max_queue_wait_s
    seconds, as far as can be told; a share of them where the queue stays (STANDING_SHARE), and after a crowd. While
    others wait, one client has at most max_client_share (0 to 1) of the requests and tokens."""

    max_queue_length: int
    max_queue_tokens: int
    max_queue_wait_s: float
    max_client_share: float


class Admission:
    """Counts what one model's engines were given and have not ended. Belongs to one event loop.

    A request that free rows take is never refused. Nor is the first that has to wait, however large. Any other must
    fit into the queue as a whole; a higher priority makes room by displacing the newest of the lowest one, of which
    nothing has begun.
    """

    def __init__(
        self, limits: AdmissionLimits, row_limits: Sequence[RowLimit], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """row_limits: of each engine, which are held to the knee while more is asked than can be done."""
        self._limits = limits
        self._row_limits = row_limits
        self._clock = clock
        share = limits.max_client_share
        self._backlog = Backlog(
            requests_share=max(1.0, share * limits.max_queue_length),
            tokens_share=max(1.0, share * limits.max_queue_tokens),
        )
        self._waiting = Pace(half_life_s=WAITING_HALF_LIFE_S)
        self._serving = Pace(half_life_s=SERVING_HALF_LIFE_S)
        self._refused_share = RefusedShare()
        self._queued: dict[Ticket, _Queued] = {}
        self._standing = Standing(burst_s=BURST_SHARE * limits.max_queue_wait_s, pause_s=PAUSE_S)
        self._is_crowded = False
        self._refused_much_at = -math.inf
        self._num_rows = 0
        self._num_arriving = 0

    @property
    def queue_length(self) -> int:
        """Requests that wait, beyond those that free rows take."""
        return len(self._queued)

    @property
    def num_promised(self) -> int:
        """Rows of the requests that have been let in and have not ended."""
        return self._num_rows + self._num_arriving

    @property
    def is_full(self) -> bool:
        """Whether whatever comes has to wait."""
        return self.num_promised >= self._num_slots

    @property
    def _num_slots(self) -> int:
        """Rows of all engines together."""
        return sum(row_limit.num_rows for row_limit in self._row_limits)

    def is_closed(self, claim: Claim) -> bool:
        """Whether the client's next request of this priority would be refused, whatever its size."""
        return bool(self._refusal(claim, [_ANY])) and not self._can_displace(claim)

    def arrive(self, claim: Claim) -> Ticket:
        """Let a request in, of which nothing is read yet; raises QueueFullError or DeadlineExceededError where it would
        be refused however small it is."""
        self._require_time(claim, _ANY)
        if (refusal := self._refusal(claim, [_ANY])) and not self._can_displace(claim):
            raise self._refused(refusal)
        return Ticket(self, claim)

    def arrived(self) -> None:
        self._num_arriving += 1

    def count(self, *, is_refused: bool) -> None:
        """One more request was let in, or was refused, whoever did."""
        now = self._clock()
        self._refused_share.count(is_refused=is_refused, now=now)
        self._is_crowded = self._refused_share.value > (CALM_SHARE if self._is_crowded else CROWDED_SHARE)
        if self._refused_share.value > CALM_SHARE:
            self._refused_much_at = now
        for row_limit in self._row_limits:
            row_limit.is_at_knee = self._is_crowded

    def settled(self) -> None:
        """A request that had arrived is now decided upon, or has ended."""
        self._num_arriving -= 1

    def decide(self, claim: Claim, sizes: Sequence[Size]) -> None:
        """Make room for a request; raises QueueFullError or DeadlineExceededError."""
        if not sizes or self._has_free_rows(sizes):
            return
        self._require_time(claim, sizes[0])
        if refusal := self._refusal(claim, sizes):
            self._displace(claim, sizes, refusal)

    def took(self, ticket: Ticket) -> None:
        """A request was decided for: it holds rows from now on."""
        self.count(is_refused=False)
        sizes = [place.size for place in ticket.places]
        if sizes and not self._has_free_rows(sizes):
            if not self._queued:
                self._standing.filled(self._clock())
            ahead = self._backlog.work_before(ticket.claim.client, sizes[0].work)
            self._queued[ticket] = _Queued(self._clock(), ahead)
            self._count(ticket, 1, sizes)
        self.rows_changed(sum(size.rows for size in sizes))

    def joined(self, ticket: Ticket, size: Size, *, has_begun: bool) -> None:
        """One source of a request waits no more: its decoding has begun, or the request has ended."""
        ticket.num_waiting -= 1
        queued = self._queued.get(ticket)
        if queued is not None:
            if has_begun and not ticket.has_begun:
                now = self._clock()
                self._waiting.learn(queued.work_ahead, now - queued.at, now=now)
            self._count(ticket, -(ticket.num_waiting == 0), [size], sign=-1)
            if ticket.num_waiting == 0:
                del self._queued[ticket]
                if not self._queued:
                    self._standing.emptied(self._clock())
        ticket.has_begun |= has_begun

    def served(self, size: Size, seconds: float) -> None:
        """One source of a request had its rows for so long."""
        self._serving.learn(size.tokens, seconds, now=self._clock())

    def rows_changed(self, by: int) -> None:
        self._num_rows += by

    def _wait_s(self, work: int, now: float) -> float | None:
        """How long so much work takes to leave the queue, by what waited lately, whatever for: rows, encoding, or the
        interpreter. Where nothing did, as long as rows are held for it; None where nothing is known."""
        wait_s = self._waiting.seconds(work, now=now)
        if wait_s is None and (held_s := self._serving.seconds(work, now=now)) is not None:
            wait_s = held_s / self._num_slots
        return wait_s

    def _has_free_rows(self, sizes: Sequence[Size]) -> bool:
        return self._num_rows + sum(size.rows for size in sizes) <= self._num_slots

    def _refusal(self, claim: Claim, sizes: Sequence[Size]) -> QueueFullError | None:
        """Why a request does not fit into the queue; None where it does."""
        limits, backlog = self._limits, self._backlog
        num_free = max(0, self._num_slots - self._num_rows)
        if self._num_arriving + sum(size.rows for size in sizes) <= num_free:
            return None
        num_arriving = max(0, self._num_arriving - num_free)
        if backlog.is_empty and not num_arriving:
            return None
        tokens = sum(size.tokens for size in sizes)
        if backlog.requests_before(claim.client) + num_arriving + 1 > limits.max_queue_length:
            return TOO_MANY_REQUESTS
        if backlog.tokens_before(claim.client) + tokens > limits.max_queue_tokens:
            return TOO_MANY_TOKENS
        if backlog.is_over_share(claim.client, tokens):
            return SHARE_TAKEN
        now = self._clock()
        wait_s = self._wait_s(backlog.work_before(claim.client, sizes[0].work), now)
        if wait_s is not None and wait_s > limits.max_queue_wait_s * self._wait_share(now):
            return TOO_LONG
        return None

    def _wait_share(self, now: float) -> float:
        stands = self._standing.is_so(now)
        if stands and self._is_crowded:
            return CROWDED_STANDING_SHARE
        if now - self._refused_much_at < AFTER_CROWD_S:
            return AFTER_CROWD_SHARE
        return STANDING_SHARE if stands else 1.0

    def _require_time(self, claim: Claim, first: Size) -> None:
        if claim.deadline is None:
            return
        now = self._clock()
        if claim.deadline <= now:
            raise DeadlineExceededError("the deadline passed before the translation began")
        if self._has_free_rows([first]) or self._backlog.is_empty:
            return
        wait_s = self._wait_s(self._backlog.work_before(claim.client, first.work, claim.priority), now)
        if wait_s is not None and now + wait_s > claim.deadline:
            raise self._refused(TOO_LATE)

    def _can_displace(self, claim: Claim) -> bool:
        return self._backlog.has_below(claim.priority) and any(
            ticket.claim.priority < claim.priority and not ticket.has_begun for ticket in self._queued
        )

    def _displaceable(self, claim: Claim) -> list[Ticket]:
        """Those that a request may displace, the first one first."""
        waiting = [t for t in self._queued if t.claim.priority < claim.priority and not t.has_begun]
        waiting.reverse()
        return sorted(waiting, key=lambda ticket: ticket.claim.priority)

    def _displace(self, claim: Claim, sizes: Sequence[Size], refusal: QueueFullError) -> None:
        displaced = []
        for ticket in self._displaceable(claim):
            self._count(ticket, -1, [place.size for place in ticket.places], sign=-1)
            displaced.append((ticket, self._queued.pop(ticket)))
            if not self._refusal(claim, sizes):
                break
        else:
            for ticket, queued in reversed(displaced):
                self._queued[ticket] = queued
                self._count(ticket, 1, [place.size for place in ticket.places])
            raise self._refused(refusal)
        for ticket, _ in displaced:
            ticket.displace(self._refused(DISPLACED))

    def _count(self, ticket: Ticket, requests: int, sizes: Sequence[Size], *, sign: int = 1) -> None:
        self._backlog.add(
            ticket.claim.client,
            ticket.claim.priority,
            requests=requests,
            tokens=sign * sum(size.tokens for size in sizes),
            work=sign * sum(size.work for size in sizes),
        )

    def _refused(self, refusal: QueueFullError) -> QueueFullError:
        self.count(is_refused=True)
        wait_s = self._wait_s(self._backlog.work, self._clock())
        return refusal.again(pushback_ms=pushback_ms(UNKNOWN_WAIT_S if wait_s is None else wait_s))


@dataclass(frozen=True)
class _Queued:
    """at: when the request was admitted, in seconds; work_ahead: what is begun before it, its first source included."""

    at: float
    work_ahead: int
