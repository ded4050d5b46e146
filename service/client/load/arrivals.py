"""When requests arrive that wait for nobody (an open loop): times in seconds from the start. It reads no clock."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

from service.client.errors import InvalidRequestError


def poisson_arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Times of arrival, in seconds from 0, of a Poisson process of `rate` arrivals a second."""
    random_gaps = random.Random(seed)  # noqa: S311
    arrivals = []
    at = random_gaps.expovariate(rate)
    while at < seconds:
        arrivals.append(at)
        at += random_gaps.expovariate(rate)
    return arrivals


def trace_arrivals(lines: Iterable[str], *, speed: float = 1.0) -> list[float]:
    """The times of a recorded trace, one number of seconds a line, counted from the earliest and divided by `speed`.

    Blank lines and those that begin with # are passed over. Raises InvalidRequestError for a line that is no number, or
    for a trace without any.
    """
    times = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            time = float(text)
        except ValueError:
            time = math.nan
        if not math.isfinite(time):
            raise InvalidRequestError(f"line {number} of the trace is no number of seconds: {text!r}")
        times.append(time)
    if not times:
        raise InvalidRequestError("the trace has no arrivals")
    first = min(times)
    return sorted((time - first) / speed for time in times)
