"""Durations, as a histogram of high dynamic range: three significant digits from a microsecond to an hour.

https://hdrhistogram.github.io/HdrHistogram/
"""

from __future__ import annotations

from collections.abc import Callable

from hdrh.histogram import HdrHistogram

PERCENTILES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9)
LONGEST_US = 3_600_000_000
DIGITS = 3


class Latencies:
    """Counts durations. It can be pickled, and takes a few hundred bytes then."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(1, LONGEST_US, DIGITS)

    def __len__(self) -> int:
        return int(self._histogram.get_total_count())

    def __reduce__(self) -> tuple[Callable[[bytes], Latencies], tuple[bytes]]:
        return _decoded, (self._histogram.encode(),)

    def record(self, seconds: float) -> None:
        """One duration; less than a microsecond counts as one, more than an hour as an hour."""
        self._histogram.record_value(min(max(round(seconds * 1e6), 1), LONGEST_US))

    def add(self, other: Latencies) -> None:
        """Those of another one too."""
        self._histogram.add(other._histogram)

    def percentile_ms(self, percent: float) -> float:
        """The duration that so many percent do not exceed, in milliseconds; 0 where there is none."""
        return float(self._histogram.get_value_at_percentile(percent)) / 1e3 if len(self) else 0.0

    def summary(self) -> dict[str, float]:
        """count, mean, the PERCENTILES and the longest, durations in milliseconds; the count alone where it is 0."""
        if not len(self):
            return {"count": 0}
        return {
            "count": len(self),
            "mean": round(float(self._histogram.get_mean_value()) / 1e3, 3),
            **{f"p{percent:g}": self.percentile_ms(percent) for percent in PERCENTILES},
            "max": float(self._histogram.get_max_value()) / 1e3,
        }

    def distribution(self) -> list[tuple[float, float]]:
        """(milliseconds, percent that do not exceed them), ever finer towards 100 %."""
        if not len(self):
            return []
        return [
            (float(one.value_iterated_to) / 1e3, float(one.percentile_level_iterated_to))
            for one in self._histogram.get_percentile_iterator(5)
        ]


def _decoded(encoded: bytes) -> Latencies:
    latencies = Latencies()
    latencies._histogram.decode_and_add(encoded)
    return latencies
