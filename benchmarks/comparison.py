"""The same weights in this engine and in CTranslate2: whole translations of a fixed length, greedy and by beam search.

Both translate the same random sources, encoding included, each at the best of its settings for a number of requests.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import ctranslate2
import numpy as np

from benchmarks.to_ctranslate2 import translate_ids
from export.models.contract import END_ID
from service.engine.request import Decoding, Request
from service.engine.runner import Runner
from service.model.onnx_model import OnnxModel
from service.model.slots import Slots

SOURCE_LENGTH = 16
TARGET_LENGTH = 24
SECONDS = 0.5
"""A round repeats a batch for so long."""


class Contender(Protocol):
    """One engine with one setting."""

    setting: str

    def translate(self, sources: Sequence[Sequence[int]], beam_size: int) -> None:
        """TARGET_LENGTH tokens of every source."""


class Ours:
    """This engine's rows and searches, without a server."""

    def __init__(self, folder: Path, *, num_threads: int) -> None:
        self.setting = f"{num_threads} threads"
        self._model = OnnxModel(folder, num_threads=num_threads)
        self._slots: dict[int, Slots] = {}

    def translate(self, sources: Sequence[Sequence[int]], beam_size: int) -> None:
        num_rows = len(sources) * beam_size
        slots = self._slots.setdefault(num_rows, Slots(self._model, num_rows))
        while slots.num_rows:
            slots.leave(slots.num_rows - 1)
        if beam_size == 1:
            slots.join(slots.encode(sources))
            for _ in range(TARGET_LENGTH):
                slots.choose(slots.step().ids[:, 0].tolist())
            return
        runner = Runner(slots, end_id=END_ID)
        decoding = Decoding(TARGET_LENGTH, beam_size=beam_size)
        runner.join([Request(i, tuple(source), decoding) for i, source in enumerate(sources)])
        while runner.num_rows:
            runner.step()


class Theirs:
    """CTranslate2 with a number of workers, of a number of threads each; the sources are divided among the workers."""

    def __init__(self, folder: Path, *, num_workers: int, num_threads: int, compute_type: str) -> None:
        self.setting = f"{num_workers} x {num_threads} threads"
        self._num_workers = num_workers
        self._translator = ctranslate2.Translator(
            str(folder), compute_type=compute_type, inter_threads=num_workers, intra_threads=num_threads
        )

    def translate(self, sources: Sequence[Sequence[int]], beam_size: int) -> None:
        translate_ids(
            self._translator,
            sources,
            beam_size=beam_size,
            min_decoding_length=TARGET_LENGTH - 1,
            max_decoding_length=TARGET_LENGTH,
            max_batch_size=-(-len(sources) // self._num_workers),
        )


@dataclass(frozen=True)
class Rates:
    """Tokens of best hypotheses a second at the best setting of each, and that setting."""

    ours: float
    theirs: float
    our_setting: str
    their_setting: str

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs


def compare(
    ours: Sequence[Contender],
    theirs: Sequence[Contender],
    *,
    vocabulary_size: int,
    num_sources: int,
    beam_size: int,
    rounds: int,
) -> Rates:
    """Medians of interleaved rounds."""
    ids = np.random.default_rng(1).integers(10, vocabulary_size, (num_sources, SOURCE_LENGTH - 1))
    sources = [[*row, END_ID] for row in ids.tolist()]
    rates: dict[Contender, list[float]] = {contender: [] for contender in (*ours, *theirs)}
    for contender in rates:
        contender.translate(sources, beam_size)
    for _ in range(rounds):
        for contender, found in rates.items():
            found.append(_tokens_per_second(contender, sources, beam_size))
    medians = {contender: statistics.median(found) for contender, found in rates.items()}
    best, their_best = (max(side, key=medians.__getitem__) for side in (ours, theirs))
    return Rates(medians[best], medians[their_best], best.setting, their_best.setting)


def _tokens_per_second(contender: Contender, sources: Sequence[Sequence[int]], beam_size: int) -> float:
    started = time.perf_counter()
    num_batches = 0
    while (seconds := time.perf_counter() - started) < SECONDS:
        contender.translate(sources, beam_size)
        num_batches += 1
    return num_batches * len(sources) * TARGET_LENGTH / seconds
