"""A second of a stage in plain numbers, as the live view shows it and the report keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.client.load.tally import Second


@dataclass(frozen=True)
class Moment:
    """The counts of a Second of all processes; durations in milliseconds, 0 where there was none."""

    second: int
    due: int
    ok: int
    good: int
    refused: int
    failed: int
    tokens: int
    different: int
    running: int
    first_token_p50_ms: float
    first_token_p99_ms: float
    total_p50_ms: float
    total_p99_ms: float


def moment_of(seconds: Sequence[Second]) -> Moment:
    """The same second of some processes, at least one."""
    first, *others = seconds
    for other in others:
        first.add(other)
    return Moment(
        second=first.number,
        due=first.num_due,
        ok=first.num_ok,
        good=first.num_good,
        refused=first.num_refused,
        failed=first.num_failed,
        tokens=first.num_tokens,
        different=first.num_different,
        running=first.num_running,
        first_token_p50_ms=first.first_token.percentile_ms(50),
        first_token_p99_ms=first.first_token.percentile_ms(99),
        total_p50_ms=first.total.percentile_ms(50),
        total_p99_ms=first.total.percentile_ms(99),
    )
