"""The decoder step alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from benchmarks.report import Bench, Table
from benchmarks.steps import NUM_STEPS, SOURCE_LENGTH, BareLoop
from service.model.onnx_model import OnnxModel

ROWS = (1, 8, 32, 64)


def measure(bench: Bench) -> Iterator[Table]:
    models = {name: OnnxModel(folder, num_threads=1) for name, folder in bench.folders.items()}
    loops = {(name, rows): BareLoop(model, rows) for name, model in models.items() for rows in ROWS}
    rates: dict[tuple[str, int], list[float]] = {key: [] for key in loops}
    for _ in range(bench.rounds):
        for key, loop in loops.items():
            rates[key].append(loop.tokens_per_second())
    yield Table(
        f"Decoder step, tokens/s in a bare loop on one thread, source {SOURCE_LENGTH}, {NUM_STEPS} steps",
        ("model", *(f"{rows} rows" for rows in ROWS)),
        [(name, *(f"{statistics.median(rates[name, rows]):,.0f}" for rows in ROWS)) for name in models],
    )
