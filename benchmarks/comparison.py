"""The same weights in this engine and in CTranslate2: whole translations of a fixed length, greedy and by beam search.

Both translate the same random sources, encoding included, each at the best of its settings for a number of requests.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import ctranslate2
import numpy as np

from export.models.control_tokens import END_ID
from service.engine.request import Decoding, Request
from service.engine.runner import Runner
from service.model.onnx_model import OnnxModel
from service.model.slots import Slots

SOURCE_LENGTH = 16
TARGET_LENGTH = 24
LARGEST_ID = 5000
SECONDS = 0.3
"""A round repeats a batch for so long."""


class Contender(Protocol):
    """One engine with one setting."""

    setting: str

    def translate(self, sources: Sequence[Sequence[int]], beam_size: int) -> None:
        """TARGET_LENGTH tokens of every source."""


class Ours:
    """This engine's rows and searches, without a server: workers of a number of threads each over one session; the
    sources are divided among the workers."""

    def __init__(self, folder: Path, *, num_workers: int, num_threads: int) -> None:
        self.setting = f"{num_workers} x {num_threads}"
        self._model = OnnxModel(folder, num_threads=num_threads)
        self._workers = ThreadPoolExecutor(num_workers)
        self._num_workers = num_workers
        self._slots: dict[tuple[int, int], Slots] = {}

    def translate(self, sources: Sequence[Sequence[int]], beam_size: int) -> None:
        shares = [share for i in range(self._num_workers) if (share := sources[i :: self._num_workers])]
        slots = [self._empty_slots(i, len(share) * beam_size) for i, share in enumerate(shares)]
        end_ids = [self.end_id] * len(shares)
        for _ in self._workers.map(_translate, slots, shares, [beam_size] * len(shares), end_ids):
            pass

    @property
    def end_id(self) -> int:
        return self._model.manifest.vocabulary.end_id

    def _empty_slots(self, worker: int, num_rows: int) -> Slots:
        if (worker, num_rows) not in self._slots:
            self._slots[worker, num_rows] = Slots(self._model, num_rows)
        slots = self._slots[worker, num_rows]
        while slots.num_rows:
            slots.leave(slots.num_rows - 1)
        return slots


def _translate(slots: Slots, sources: Sequence[Sequence[int]], beam_size: int, end_id: int) -> None:
    if beam_size == 1:
        slots.join(slots.encode(sources))
        for _ in range(TARGET_LENGTH):
            slots.choose(slots.step().ids[:, 0].tolist())
        return
    runner = Runner(slots, end_id=end_id)
    decoding = Decoding(TARGET_LENGTH, beam_size=beam_size)
    runner.join([Request(i, tuple(source), decoding) for i, source in enumerate(sources)])
    while runner.num_rows:
        runner.step()


class Theirs:
    """CTranslate2 with a number of workers, of a number of threads each; the sources are divided among the workers.
    named: each token as its vocabulary spells it."""

    def __init__(self, folder: Path, *, num_workers: int, num_threads: int, named: Callable[[int], str] = str) -> None:
        self.setting = f"{num_workers} x {num_threads}"
        self._num_workers = num_workers
        self._named = named
        self._translator = ctranslate2.Translator(
            str(folder), compute_type="int8", inter_threads=num_workers, intra_threads=num_threads
        )

    def translate(self, sources: Sequence[Sequence[int]], beam_size: int) -> None:
        self._translator.translate_batch(
            [[self._named(token_id) for token_id in source] for source in sources],
            beam_size=beam_size,
            min_decoding_length=TARGET_LENGTH - 1,
            max_decoding_length=TARGET_LENGTH,
            max_batch_size=-(-len(sources) // self._num_workers),
        )


def our_settings(folder: Path) -> list[Contender]:
    """This engine on up to two cores."""
    return [Ours(folder, num_workers=workers, num_threads=threads) for workers, threads in ((1, 1), (1, 2), (2, 1))]


def their_settings(folder: Path, named: Callable[[int], str] = str) -> list[Contender]:
    """CTranslate2 on two cores."""
    return [
        Theirs(folder, num_workers=workers, num_threads=threads, named=named) for workers, threads in ((1, 2), (2, 1))
    ]


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
    num_sources: int,
    beam_size: int,
    rounds: int,
    end_id: int = END_ID,
) -> Rates:
    """Medians of interleaved rounds."""
    sources = random_sources(num_sources, end_id)
    medians = rates((*ours, *theirs), sources, beam_size=beam_size, rounds=rounds)
    best, their_best = (max(side, key=medians.__getitem__) for side in (ours, theirs))
    return Rates(medians[best], medians[their_best], best.setting, their_best.setting)


def rates(
    contenders: Sequence[Contender], sources: Sequence[Sequence[int]], *, beam_size: int, rounds: int
) -> dict[Contender, float]:
    """Tokens a second of each: the median of interleaved rounds, after a batch to warm up."""
    found: dict[Contender, list[float]] = {contender: [] for contender in contenders}
    for contender in contenders:
        contender.translate(sources, beam_size)
    for _ in range(rounds):
        for contender, each in found.items():
            each.append(tokens_per_second(contender, sources, beam_size=beam_size))
    return {contender: statistics.median(each) for contender, each in found.items()}


def random_sources(num_sources: int, end_id: int = END_ID) -> list[list[int]]:
    """Sources of SOURCE_LENGTH tokens, the end of the sentence included, from the first tokens of any vocabulary."""
    ids = np.random.default_rng(1).integers(10, LARGEST_ID, (num_sources, SOURCE_LENGTH - 1))
    return [[*row, end_id] for row in ids.tolist()]


def tokens_per_second(contender: Contender, sources: Sequence[Sequence[int]], *, beam_size: int) -> float:
    """Over one round."""
    started = time.perf_counter()
    num_batches = 0
    while (seconds := time.perf_counter() - started) < SECONDS:
        contender.translate(sources, beam_size)
        num_batches += 1
    return num_batches * len(sources) * TARGET_LENGTH / seconds
