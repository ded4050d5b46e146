"""Numbers out of measurements, without a clock: percentiles, ratios, and whether a goal was reached."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least a share (0 to 1) of all values does not exceed: the nearest rank.

    Raises ValueError where there is no value."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    rank = -(-len(ordered) * round(share * 1000) // 1000)
    return ordered[max(rank, 1) - 1]


def median_ratio(ones: Sequence[float], others: Sequence[float]) -> float:
    """The median over the rounds of one / other."""
    return statistics.median(one / other for one, other in zip(ones, others, strict=True))


def at_least(value: float, goal: float, unit: str = "") -> str:
    """The goal and whether the value reaches it, as printed."""
    return f"at least {goal:g}{unit}: {'reached' if value >= goal else 'MISSED'}"


def at_most(value: float, goal: float, unit: str = "") -> str:
    """The goal and whether the value stays within it, as printed."""
    return f"at most {goal:g}{unit}: {'reached' if value <= goal else 'MISSED'}"
