"""What became of requests, counted: one request's outcome, and the sums of many. Times in seconds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

from service.client.load.latencies import Latencies
from service.client.load.scenario import Targets

OK, INCOMPLETE = "OK", "INCOMPLETE"
"""Statuses: as gRPC names them, and that of a stream that ends with OK and without its completion."""
MOST_DIFFERENCES = 20
"""Of one process and one stage, that are kept to be shown; all are counted."""


@dataclass
class Outcome:
    """One request, on the clock of the generator. due: when it should have been sent; sent_at: when it was; arrivals:
    of each token; difference: how its translation is not the reference, empty where it is or where none is known."""

    job: int
    due: float
    sent_at: float = 0.0
    arrivals: list[float] = field(default_factory=list)
    ended_at: float = 0.0
    status: str = ""
    is_refused: bool = False
    pushback_s: float | None = None
    is_verified: bool = False
    difference: str = ""

    @property
    def first_token_s(self) -> float | None:
        """From when it was due: a request that is sent late has waited too."""
        return self.arrivals[0] - self.due if self.arrivals else None

    @property
    def total_s(self) -> float:
        return self.ended_at - self.due

    @property
    def mean_gap_s(self) -> float | None:
        """Between two tokens."""
        return (self.arrivals[-1] - self.arrivals[0]) / (len(self.arrivals) - 1) if len(self.arrivals) > 1 else None

    def is_good(self, targets: Targets) -> bool:
        """Whether it was answered, within every target."""
        limits = (
            (self.first_token_s, targets.first_token_ms),
            (self.mean_gap_s, targets.gap_ms),
            (self.total_s, targets.total_ms),
        )
        return self.status == OK and all(
            value is None or limit is None or value * 1e3 <= limit for value, limit in limits
        )


@dataclass
class Tally:
    """Sums of outcomes. num_good are those within the targets; lateness is how late requests were sent; loop_lag, how
    late the generator's own event loop did what was due; gaps are between every two tokens of a request."""

    num_sent: int = 0
    num_good: int = 0
    num_refused: int = 0
    num_tokens: int = 0
    num_verified: int = 0
    num_different: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    by_job: Counter[int] = field(default_factory=Counter)
    first_token: Latencies = field(default_factory=Latencies)
    gaps: Latencies = field(default_factory=Latencies)
    total: Latencies = field(default_factory=Latencies)
    lateness: Latencies = field(default_factory=Latencies)
    loop_lag: Latencies = field(default_factory=Latencies)
    pushback: Latencies = field(default_factory=Latencies)
    differences: list[str] = field(default_factory=list)

    @property
    def num_ok(self) -> int:
        return self.statuses[OK]

    @property
    def num_failed(self) -> int:
        """Neither answered nor refused."""
        return self.num_sent - self.num_ok - self.num_refused

    def record(self, outcome: Outcome, targets: Targets) -> None:
        """One request more."""
        self.num_sent += 1
        self.num_good += outcome.is_good(targets)
        self.num_refused += outcome.is_refused
        self.num_tokens += len(outcome.arrivals)
        self.statuses[outcome.status] += 1
        self.by_job[outcome.job] += 1
        self.lateness.record(outcome.sent_at - outcome.due)
        if outcome.pushback_s is not None:
            self.pushback.record(outcome.pushback_s)
        if outcome.first_token_s is not None:
            self.first_token.record(outcome.first_token_s)
        for earlier, later in pairwise(outcome.arrivals):
            self.gaps.record(later - earlier)
        if outcome.status == OK:
            self.total.record(outcome.total_s)

    def verify(self, outcome: Outcome) -> None:
        """Whether a translation was what it should be; also of a request that does not count otherwise."""
        self.num_verified += outcome.is_verified
        if outcome.difference:
            self.num_different += 1
            self.differences = [*self.differences, outcome.difference][:MOST_DIFFERENCES]

    def add(self, other: Tally) -> None:
        """Those of another one too."""
        self.num_sent += other.num_sent
        self.num_good += other.num_good
        self.num_refused += other.num_refused
        self.num_tokens += other.num_tokens
        self.num_verified += other.num_verified
        self.num_different += other.num_different
        self.statuses += other.statuses
        self.by_job += other.by_job
        for mine, its in zip(self._latencies(), other._latencies(), strict=True):
            mine.add(its)
        self.differences = [*self.differences, *other.differences][:MOST_DIFFERENCES]

    def _latencies(self) -> tuple[Latencies, ...]:
        return self.first_token, self.gaps, self.total, self.lateness, self.loop_lag, self.pushback


@dataclass
class Second:
    """What happened in one second of a stage, whenever the requests of it were due; first_token and total are of tokens
    and ends that fell into it. num_running: at its end."""

    number: int
    num_due: int = 0
    num_ok: int = 0
    num_good: int = 0
    num_refused: int = 0
    num_failed: int = 0
    num_tokens: int = 0
    num_different: int = 0
    num_running: int = 0
    first_token: Latencies = field(default_factory=Latencies)
    total: Latencies = field(default_factory=Latencies)

    def end(self, outcome: Outcome, targets: Targets) -> None:
        """A request has ended in it."""
        self.num_ok += outcome.status == OK
        self.num_good += outcome.is_good(targets)
        self.num_refused += outcome.is_refused
        self.num_failed += outcome.status != OK and not outcome.is_refused
        self.num_different += bool(outcome.difference)
        if outcome.status == OK:
            self.total.record(outcome.total_s)

    def add(self, other: Second) -> None:
        """The same second of another process."""
        self.num_due += other.num_due
        self.num_ok += other.num_ok
        self.num_good += other.num_good
        self.num_refused += other.num_refused
        self.num_failed += other.num_failed
        self.num_tokens += other.num_tokens
        self.num_different += other.num_different
        self.num_running += other.num_running
        self.first_token.add(other.first_token)
        self.total.add(other.total)
