"""The decoder step in a bare loop: no server, no engine, no texts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.model.onnx_model import OnnxModel
from service.model.slots import Slots

SOURCE_LENGTH = 16
NUM_STEPS = 24


@dataclass
class BareLoop:
    """Steps of `num_rows` sequences with sources of SOURCE_LENGTH tokens: NUM_STEPS of them, after a first one."""

    model: OnnxModel
    num_rows: int

    def tokens_per_second(self) -> float:
        """Encode, then run and time the steps alone; each row continues from its best token."""
        slots = self.encoded()
        started = time.perf_counter()
        advance(slots)
        return self.num_rows * NUM_STEPS / (time.perf_counter() - started)

    def encoded(self) -> Slots:
        """Rows that have made their first step."""
        vocabulary = self.model.manifest.vocabulary
        ids = np.random.default_rng(1).integers(10, vocabulary.source_size, (self.num_rows, SOURCE_LENGTH))
        slots = Slots(self.model, self.num_rows)
        slots.join(slots.encode(ids.tolist()))
        slots.step()
        return slots


def advance(slots: Slots) -> None:
    """NUM_STEPS greedy steps."""
    for _ in range(NUM_STEPS):
        candidates = slots.step()
        slots.choose(candidates.ids[:, 0].tolist())


class SharedLoop:
    """Rows divided among workers of a number of threads each, over one session."""

    def __init__(self, folder: Path, num_rows: int, *, num_workers: int, num_threads: int) -> None:
        self.setting = f"{num_workers} x {num_threads}"
        model = OnnxModel(folder, num_threads=num_threads)
        self._loops = [BareLoop(model, num_rows // num_workers) for _ in range(num_workers)]
        self._workers = ThreadPoolExecutor(num_workers)

    def step_seconds(self) -> float:
        """Seconds in which each of the rows makes a token."""
        slots = [loop.encoded() for loop in self._loops]
        started = time.perf_counter()
        for _ in self._workers.map(advance, slots):
            pass
        return (time.perf_counter() - started) / NUM_STEPS


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step of all rows at the best setting, workers x threads, and that setting."""

    seconds: float
    setting: str


def best_step(folder: Path, num_rows: int, settings: Sequence[tuple[int, int]], rounds: int) -> StepTime:
    """The median of interleaved rounds, of the setting for which it is shortest."""
    loops = [
        SharedLoop(folder, num_rows, num_workers=workers, num_threads=threads)
        for workers, threads in settings
        if num_rows % workers == 0
    ]
    found: list[list[float]] = [[] for _ in loops]
    for _ in range(rounds):
        for loop, seconds in zip(loops, found, strict=True):
            seconds.append(loop.step_seconds())
    medians = [statistics.median(seconds) for seconds in found]
    best = min(range(len(loops)), key=medians.__getitem__)
    return StepTime(medians[best], loops[best].setting)
