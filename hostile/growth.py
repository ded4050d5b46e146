"""Growth out of samples of memory, and its picture."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.figure
import numpy as np

from hostile.server import Memory

MIB = 2**20


@dataclass(frozen=True)
class Sample:
    """A server's memory after so much work."""

    done: float
    memory: Memory


@dataclass(frozen=True)
class Growth:
    """Bytes for each unit of work over the last half of the samples: resident by least squares, allocated by the median
    slope from sample to sample, since a table that doubles once is a step and no slope."""

    resident: float
    allocated: float


def growth(samples: Sequence[Sample]) -> Growth:
    """Raises ValueError for fewer than four samples."""
    if len(samples) < 4:
        raise ValueError(f"{len(samples)} samples; a slope of their last half needs four")
    last = samples[len(samples) // 2 :]
    done = [sample.done for sample in last]
    return Growth(
        resident=float(np.polyfit(done, [sample.memory.resident for sample in last], 1)[0]),
        allocated=_median_slope(done, [sample.memory.allocated for sample in last]),
    )


def _median_slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Of those from each point to the next."""
    points = zip(x, y, strict=True)
    return statistics.median((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in itertools.pairwise(points))


def draw(curves: Mapping[str, Sequence[Sample]], unit: str, path: Path) -> None:
    """Both kinds of memory of each server over the work done, in MiB, as a PNG."""
    figure = matplotlib.figure.Figure(figsize=(8.0, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for name, samples in curves.items():
        done = [sample.done for sample in samples]
        (line,) = axes.plot(done, [sample.memory.resident / MIB for sample in samples], label=f"{name}, resident")
        axes.plot(
            done,
            [sample.memory.allocated / MIB for sample in samples],
            label=f"{name}, allocated by malloc",
            color=line.get_color(),
            linestyle="--",
        )
    axes.set_xlabel(unit)
    axes.set_ylabel("MiB")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
