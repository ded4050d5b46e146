"""Whole translations beside other ways to run a model of this size."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks import comparison
from benchmarks.comparison import Contender
from benchmarks.competitors.child import Child
from benchmarks.competitors.eager import Eager
from benchmarks.competitors.environment import FOLDER, python
from benchmarks.figures import at_least
from benchmarks.report import BASE, Bench, LeftOutError, Table

ROWS = (1, 8, 32)
THREADS = (1, 2)
GRAPHS = FOLDER / "marian"
EAGER_GOAL, OPTIMUM_GOAL = 10.0, 5.0
MARIAN = (
    ("transformers generate, fp32", "transformers", None),
    ("optimum-onnx, fp32", "optimum", OPTIMUM_GOAL),
    ("optimum-onnx, int8", "optimum-int8", OPTIMUM_GOAL),
)
"""Name, library as marian.py calls it, ratio to reach."""
HOPELESS = 4.0
GENAI = "onnxruntime-genai"


@dataclass(frozen=True)
class Other:
    """One way to run a model, with each number of threads, and the ratio that ours is to reach."""

    name: str
    settings: Sequence[Contender]
    goal: float | None


def measure(bench: Bench) -> Iterator[Table]:
    left_out: list[tuple[str, str]] = []
    others = [
        Other("PyTorch eager, fp32", [Eager(int8=False, num_threads=each) for each in THREADS], EAGER_GOAL),
        Other("PyTorch eager, int8 feed-forward", [Eager(int8=True, num_threads=each) for each in THREADS], EAGER_GOAL),
    ]
    with ExitStack() as running:
        for name, library, goal in MARIAN:
            try:
                settings = [running.enter_context(_marian(library, num_threads)) for num_threads in THREADS]
            except LeftOutError as error:
                left_out.append((name, str(error)))
            else:
                others.append(Other(name, settings, goal))
        ours = comparison.our_settings(bench.base)
        rows = [row for num_rows in ROWS for row in _compare(ours, others, num_rows, bench.rounds)]
    yield Table(
        f"Whole translations of {comparison.SOURCE_LENGTH} into {comparison.TARGET_LENGTH} tokens, with encoding, "
        f"greedy, tokens/s; ours: {BASE} at its best setting; PyTorch: the same weights; transformers and "
        "optimum-onnx: MarianMT of the same sizes, random weights; all with a cache of keys and values, with "
        f"{' or '.join(map(str, THREADS))} threads, whichever is quicker",
        ("with", "requests", "ours", "theirs", "threads", "ours / theirs", "to reach"),
        rows,
    )
    try:
        with Child(GENAI, python(), "genai.py", str(GRAPHS / "fp32"), str(bench.scratch / "genai")):
            left_out.append((GENAI, "it loads the model, but this benchmark has no loop for it"))
    except LeftOutError as error:
        left_out.append((GENAI, str(error)))
    yield Table("Not measured", ("with", "because"), left_out, ("because",))


def _marian(library: str, num_threads: int) -> Child:
    arguments = (library, str(GRAPHS), str(comparison.TARGET_LENGTH), str(num_threads))
    return Child(str(num_threads), python(), "marian.py", *arguments)


def _compare(
    ours: Sequence[Contender], others: Sequence[Other], num_rows: int, rounds: int
) -> Iterator[tuple[str, ...]]:
    """The best setting of each side by its median."""
    sources = comparison.random_sources(num_rows)
    tried = {other.name: _not_hopeless(other.settings, sources) for other in others}
    contenders = [*ours, *(setting for settings in tried.values() for setting in settings)]
    rates = comparison.rates(contenders, num_sources=num_rows, beam_size=1, rounds=rounds)
    best = max(rates[one] for one in ours)
    for other in others:
        theirs = max(tried[other.name], key=rates.__getitem__)
        ratio = best / rates[theirs]
        reached = "" if other.goal is None else at_least(ratio, other.goal, " x")
        figures = (f"{best:,.0f}", f"{rates[theirs]:,.0f}", theirs.setting, f"{ratio:.1f}")
        yield (other.name, str(num_rows), *figures, reached)


def _not_hopeless(settings: Sequence[Contender], sources: Sequence[Sequence[int]]) -> list[Contender]:
    """Those that take at most HOPELESS times as long for one translation as the quickest: threads that wait for each
    other on busy cores can be slower by an order of magnitude."""
    seconds = [_seconds(setting, sources) for setting in settings]
    return [setting for setting, each in zip(settings, seconds, strict=True) if each <= HOPELESS * min(seconds)]


def _seconds(contender: Contender, sources: Sequence[Sequence[int]]) -> float:
    """Of one translation."""
    started = time.perf_counter()
    contender.translate(sources, 1)
    return time.perf_counter() - started
