"""What a step costs as its sequences grow."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.bundles import BASE as BASE_CONFIGURATION
from benchmarks.figures import at_most
from benchmarks.report import BASE, Bench, Table
from benchmarks.steps import SOURCE_LENGTH, BareLoop
from service.model.bundle import read_manifest
from service.model.manifest import MANIFEST_FILE
from service.model.onnx_model import OnnxModel

NUM_ROWS = 32
AGES = (10, 50, 100, 200, 300, 400, 500)
NUM_NEIGHBOURS = 5
"""Steps before and after an age whose median is its time."""
GOAL = 1.6


def measure(bench: Bench) -> Iterator[Table]:
    loop = BareLoop(OnnxModel(_with_long_targets(bench), num_threads=1), NUM_ROWS)
    found = np.array([_times_of_steps(loop) for _ in range(bench.rounds)])
    windows = [found[:, age - NUM_NEIGHBOURS : age + NUM_NEIGHBOURS + 1] for age in AGES]
    rounds = np.array([np.median(window, axis=1) for window in windows])
    times = [1e3 * float(each) for each in np.median(rounds, axis=1)]
    ratio = statistics.median((rounds[-1] / rounds[0]).tolist())
    yield Table(
        f"Decoder step of {NUM_ROWS} rows of {BASE} on one thread by the tokens that each row has made, source "
        f"{SOURCE_LENGTH}, in ms",
        (*(f"{age} tokens" for age in AGES), f"{AGES[-1]} / {AGES[0]}", "to reach"),
        [(*(f"{each:.2f}" for each in times), f"{ratio:.2f}", at_most(ratio, GOAL))],
    )


def _with_long_targets(bench: Bench) -> Path:
    """A copy of the base whose manifest allows as many target tokens as the model has positions."""
    folder = bench.scratch / "long" / "1"
    shutil.copytree(bench.base, folder)
    manifest = read_manifest(folder)
    longest = manifest.model_copy(update={"max_target_length": BASE_CONFIGURATION.max_positions})
    (folder / MANIFEST_FILE).write_text(longest.model_dump_json(), encoding="utf-8")
    return folder


def _times_of_steps(loop: BareLoop) -> list[float]:
    """Seconds of each step, the first one first, up to the oldest age and its neighbours."""
    slots = loop.encoded()
    times = [0.0]
    for _ in range(AGES[-1] + NUM_NEIGHBOURS):
        started = time.perf_counter()
        slots.choose(slots.step().ids[:, 0].tolist())
        times.append(time.perf_counter() - started)
    return times
