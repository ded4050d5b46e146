"""How a step's time grows with the source."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.report import Bench, Table
from benchmarks.windows import SOURCE_LENGTHS, step_milliseconds

NUM_ROWS = 8


def measure(bench: Bench) -> Iterator[Table]:
    rows = []
    milliseconds = step_milliseconds(bench.scratch / "spans", num_rows=NUM_ROWS, rounds=bench.rounds)
    for span, times in milliseconds.items():
        rows.append((span, *(f"{ms:.2f} ({ms / times[0]:.2f})" for ms in times)))
    yield Table(
        f"Decoder step of {NUM_ROWS} rows, a recurrent model in fp32 on one thread, in ms by source length (relative "
        "to the shortest)",
        ("span", *(f"{length:,}" for length in SOURCE_LENGTHS)),
        rows,
    )
