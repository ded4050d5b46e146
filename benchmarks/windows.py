"""How a decoder step's time grows with the source: global attention against local, which gathers its window."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np

from benchmarks.bundles import write_version
from export.configuration import AttentionConfiguration, RecurrentConfiguration
from service.model.onnx_model import OnnxModel
from service.model.slots import Slots

SOURCE_LENGTHS = (50, 200, 500, 1_000, 2_000)
VOCABULARY_SIZE = 1_000
NUM_STEPS = 40
WINDOW = 10
SPANS = {
    "global": AttentionConfiguration(),
    f"local_m {WINDOW}": AttentionConfiguration(span="local_m", window=WINDOW),
    f"local_p {WINDOW}": AttentionConfiguration(span="local_p", window=WINDOW),
}


def step_milliseconds(folder: Path, *, num_rows: int, rounds: int) -> dict[str, list[float]]:
    """For each span the median time of a step at each of SOURCE_LENGTHS, of recurrent models with random weights, in
    fp32; rounds are interleaved."""
    slots = {}
    for number, (span, attention) in enumerate(SPANS.items()):
        config = RecurrentConfiguration(family="recurrent", attention=attention)
        version = write_version(folder / str(number), f"random-{number}", config, VOCABULARY_SIZE, "fp32")
        model = OnnxModel(version, num_threads=1)
        for length in SOURCE_LENGTHS:
            slots[span, length] = _filled(model, num_rows, length)
    times: dict[tuple[str, int], list[float]] = {key: [] for key in slots}
    for _ in range(rounds):
        for key, rows in slots.items():
            times[key].append(_time(rows))
    return {span: [1e3 * statistics.median(times[span, length]) for length in SOURCE_LENGTHS] for span in SPANS}


def _filled(model: OnnxModel, num_rows: int, source_length: int) -> Slots:
    ids = np.random.default_rng(1).integers(10, VOCABULARY_SIZE, (num_rows, source_length))
    slots = Slots(model, num_rows)
    slots.join(slots.encode(ids.tolist()))
    slots.step()
    return slots


def _time(slots: Slots) -> float:
    """Seconds a step; the rows grow older, which no recurrent model feels."""
    started = time.perf_counter()
    for _ in range(NUM_STEPS):
        slots.step()
    return (time.perf_counter() - started) / NUM_STEPS
