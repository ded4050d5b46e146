"""Whole translations beside CTranslate2 on the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

from benchmarks import comparison
from benchmarks.figures import at_least
from benchmarks.report import BASE, SHIPPED, Bench, Table

CASES = (
    (BASE, 1, 1, 4.0),
    (BASE, 1, 8, 2.5),
    (BASE, 1, 32, 1.8),
    (BASE, 1, 64, 1.6),
    (BASE, 4, 1, 4.0),
    (BASE, 4, 8, 1.6),
    (BASE, 4, 32, 1.5),
    (SHIPPED, 1, 1, 1.2),
    (SHIPPED, 1, 64, 1.0),
    (SHIPPED, 4, 1, 1.2),
    (SHIPPED, 4, 32, 1.0),
)
"""Model, beam size, requests, and the ratio to reach."""


def measure(bench: Bench) -> Iterator[Table]:
    ours = {BASE: bench.base, SHIPPED: bench.shipped(SHIPPED)}
    theirs = {BASE: bench.base_in_ctranslate2, SHIPPED: bench.shipped_in_ctranslate2}
    rows = []
    for name, beam_size, num_sources, goal in CASES:
        rates = comparison.compare(
            comparison.our_settings(ours[name]),
            comparison.their_settings(theirs[name]),
            num_sources=num_sources,
            beam_size=beam_size,
            rounds=bench.rounds,
        )
        search = "greedy" if beam_size == 1 else f"beam {beam_size}"
        figures = (f"{rates.ours:,.0f}", f"{rates.theirs:,.0f}", f"{rates.ratio:.2f}", at_least(rates.ratio, goal))
        rows.append((name, search, str(num_sources), *figures, f"{rates.our_setting}; {rates.their_setting}"))
    yield Table(
        f"Whole translations of {comparison.SOURCE_LENGTH} into {comparison.TARGET_LENGTH} tokens, with encoding, on "
        f"the same weights in 8 bits; tokens/s at the best setting of each, CTranslate2 {version('ctranslate2')}",
        ("model", "search", "requests", "ours", "CTranslate2", "ours / CTranslate2", "to reach", "workers x threads"),
        rows,
        ("search", "to reach", "workers x threads"),
    )
