"""Whole translations beside other ways to run a model of this size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks import comparison, random_folder
from benchmarks.competitors.child import Child
from benchmarks.competitors.eager import Eager
from benchmarks.competitors.environment import python
from benchmarks.competitors.marians import graphs, marians
from benchmarks.competitors.rows import Other, compare_rows
from benchmarks.report import BASE, Bench, LeftOutError, Table

THREADS = (1, 2)
SHAPE = "base"
EAGER_GOAL = 10.0
GOALS = {"optimum": 5.0, "optimum-int8": 5.0}
GENAI = "onnxruntime-genai"


def measure(bench: Bench) -> Iterator[Table]:
    left_out: list[tuple[str, str]] = []
    weights = bench.scratch / "transformers" / SHAPE
    random_folder.make(SHAPE, weights)
    others = [
        Other("PyTorch eager, fp32", [Eager(int8=False, num_threads=each) for each in THREADS], EAGER_GOAL),
        Other("PyTorch eager, int8 feed-forward", [Eager(int8=True, num_threads=each) for each in THREADS], EAGER_GOAL),
    ]
    with ExitStack() as running:
        others += marians(running, SHAPE, weights, THREADS, GOALS, left_out)
        rows = compare_rows(comparison.our_settings(bench.base), others, bench.rounds)
    yield Table(
        f"Whole translations of {comparison.SOURCE_LENGTH} into {comparison.TARGET_LENGTH} tokens, with encoding, "
        f"greedy, tokens/s; ours: {BASE} at its best setting; PyTorch: the same weights; transformers and "
        "optimum-onnx: MarianMT of the same sizes, random weights; all with a cache of keys and values, with "
        f"{' or '.join(map(str, THREADS))} threads, whichever is quicker",
        ("with", "requests", "ours", "theirs", "threads", "ours / theirs", "to reach"),
        rows,
    )
    try:
        with Child(GENAI, python(), "genai.py", str(graphs(SHAPE) / "fp32"), str(bench.scratch / "genai")):
            left_out.append((GENAI, "it loads the model, but this benchmark has no loop for it"))
    except LeftOutError as error:
        left_out.append((GENAI, str(error)))
    yield Table("Not measured", ("with", "because"), left_out, ("because",))
