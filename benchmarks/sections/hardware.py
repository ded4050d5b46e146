"""How much of what the machine can do at best a step reaches: one row reads weights, many rows multiply by them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx

from benchmarks.figures import at_least
from benchmarks.kernels import LARGE_BYTES, Best, limits
from benchmarks.report import BASE, Bench, Table
from benchmarks.steps import best_step
from service.model.bundle import read_manifest

MANY_ROWS = 64
EIGHT_BITS = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)


def measure(bench: Bench) -> Iterator[Table]:
    num_bytes = product_bytes(bench.base)
    found = {cores: [limits(num_threads=cores, num_bytes=num_bytes) for _ in range(bench.rounds)] for cores in (1, 2)}
    yield Table(
        f"What this machine can do; reading {num_bytes / 1e6:.1f} MB, the weights of a step, may be served by a cache",
        ("", "1 core", "2 cores", "kernel on 1; on 2 cores"),
        [
            _limit_row(
                f"read of {num_bytes / 1e6:.1f} MB, GB/s",
                [each.read for each in found[1]],
                [each.read for each in found[2]],
            ),
            _limit_row(
                f"read of {LARGE_BYTES / 1e9:g} GB, GB/s",
                [each.read_large for each in found[1]],
                [each.read_large for each in found[2]],
            ),
            _limit_row(
                "8-bit products, 10^9 operations/s",
                [each.operations for each in found[1]],
                [each.operations for each in found[2]],
            ),
        ],
        ("kernel on 1; on 2 cores",),
    )
    rows = []
    for num_rows, settings in ((1, ((1, 1), (1, 2))), (MANY_ROWS, ((1, 1), (1, 2), (2, 1)))):
        step = best_step(bench.base, num_rows, settings, bench.rounds)
        workers, threads = (int(part) for part in step.setting.split(" x "))
        best = found[workers * threads]
        read = num_bytes / step.seconds
        operations = 2 * num_rows * num_bytes / step.seconds
        read_share = read / _median([each.read for each in best])
        product_share = operations / _median([each.operations for each in best])
        goal = (
            at_least(read_share, 0.75, " of reading") if num_rows == 1 else at_least(product_share, 0.6, " of products")
        )
        rows.append(
            (
                *(str(num_rows), step.setting, f"{1e3 * step.seconds:.2f}"),
                *(f"{read / 1e9:.1f} ({read_share:.0%})", f"{read / _median([each.read for each in found[2]]):.0%}"),
                *(f"{operations / 1e9:.0f} ({product_share:.0%})", goal),
            )
        )
    yield Table(
        f"Decoder step of {BASE} at its best setting, and its share of the above on as many cores, weights counted "
        "once a step",
        (
            "rows",
            "workers x threads",
            "step, ms",
            "weights read, GB/s",
            "of reading on 2 cores",
            "10^9 operations/s",
            "to reach",
        ),
        rows,
    )


def product_bytes(version: Path) -> int:
    """Bytes of the step graph's 8-bit matrices: every one is read, and multiplied by each row, in every step."""
    graph = onnx.load(version / read_manifest(version).decoder_step).graph
    matrices = (tensor for tensor in graph.initializer if tensor.data_type in EIGHT_BITS and len(tensor.dims) > 1)
    return sum(math.prod(tensor.dims) for tensor in matrices)


def _limit_row(name: str, one: Sequence[Best], two: Sequence[Best]) -> tuple[str, ...]:
    kernels = "; ".join(max(side, key=lambda best: best.rate).kernel for side in (one, two))
    return (name, f"{_median(one) / 1e9:,.1f}", f"{_median(two) / 1e9:,.1f}", kernels)


def _median(bests: Sequence[Best]) -> float:
    return statistics.median(best.rate for best in bests)
