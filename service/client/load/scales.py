"""Axes of a chart: where a value lies, and which ticks are worth a line. It draws nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """place: of a value between 0 and 1; ticks: values with their labels."""

    place: Callable[[float], float]
    ticks: Sequence[tuple[float, str]]


def linear(least: float, most: float, *, num_ticks: int = 5) -> Scale:
    """From `least` to `most` or the next round number above it."""
    span = (most - least) or 1.0
    step = _round_step(span / num_ticks)
    top = least + math.ceil(span / step - 1e-9) * step
    count = round((top - least) / step)
    ticks = [(least + number * step, _label(least + number * step)) for number in range(count + 1)]
    return Scale(lambda value: (value - least) / (top - least), ticks)


def logarithmic(least: float, most: float) -> Scale:
    """From the power of ten below `least` to the one above `most`, both above 0."""
    low, high = math.floor(math.log10(least)), math.ceil(math.log10(most))
    high = max(high, low + 1)
    ticks = [(10.0**power, _label(10.0**power)) for power in range(low, high + 1)]
    return Scale(lambda value: (math.log10(max(value, 10.0**low)) - low) / (high - low), ticks)


def percentiles(most: float) -> Scale:
    """Percentiles from 0 to at least 99 and at most `most`, each nine as wide as the one before."""
    nines = max(2.0, -math.log10(max(1.0 - most / 100, 1e-7)))
    wanted = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999)

    def place(value: float) -> float:
        return min(-math.log10(max(1.0 - value / 100, 1e-7)) / nines, 1.0)

    return Scale(place, [(value, f"{value:g}%") for value in wanted if place(value) < 1.0 or value == most])


def _round_step(step: float) -> float:
    """1, 2 or 5 times a power of ten, not below `step`."""
    power: float = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))


def _label(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 or value == round(value) else f"{value:g}"
