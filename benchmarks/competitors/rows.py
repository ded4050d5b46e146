"""Rows of a table that holds this engine beside others, greedy, for more and more requests."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks import comparison
from benchmarks.comparison import Contender
from benchmarks.figures import at_least
from export.models.control_tokens import END_ID

ROWS = (1, 8, 32)
HOPELESS = 4.0


@dataclass(frozen=True)
class Other:
    """One way to run a model, with each of its settings, and the ratio that ours is to reach."""

    name: str
    settings: Sequence[Contender]
    goal: float | None


def compare_rows(
    ours: Sequence[Contender], others: Sequence[Other], rounds: int, *, end_id: int = END_ID
) -> list[tuple[str, ...]]:
    """Name, requests, tokens/s of ours and theirs, their setting, ratio, and whether the goal is reached."""
    return [row for num_rows in ROWS for row in _compare(ours, others, num_rows, rounds, end_id)]


def _compare(
    ours: Sequence[Contender], others: Sequence[Other], num_rows: int, rounds: int, end_id: int
) -> Iterator[tuple[str, ...]]:
    """The best setting of each side by its median."""
    sources = comparison.random_sources(num_rows, end_id)
    tried = {other.name: _not_hopeless(other.settings, sources) for other in others}
    contenders = [*ours, *(setting for settings in tried.values() for setting in settings)]
    rates = comparison.rates(contenders, sources, beam_size=1, rounds=rounds)
    best = max(rates[one] for one in ours)
    for other in others:
        theirs = max(tried[other.name], key=rates.__getitem__)
        ratio = best / rates[theirs]
        reached = "" if other.goal is None else at_least(ratio, other.goal, " x")
        figures = (f"{best:,.0f}", f"{rates[theirs]:,.0f}", theirs.setting, f"{ratio:.1f}")
        yield (other.name, str(num_rows), *figures, reached)


def _not_hopeless(settings: Sequence[Contender], sources: Sequence[Sequence[int]]) -> list[Contender]:
    """Those that take at most HOPELESS times as long for one translation as the quickest: threads that wait for each
    other on busy cores can be slower by an order of magnitude."""
    seconds = [_seconds(setting, sources) for setting in settings]
    return [setting for setting, each in zip(settings, seconds, strict=True) if each <= HOPELESS * min(seconds)]


def _seconds(contender: Contender, sources: Sequence[Sequence[int]]) -> float:
    """Of one translation."""
    started = time.perf_counter()
    contender.translate(sources, 1)
    return time.perf_counter() - started
