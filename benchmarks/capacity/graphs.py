"""Measures a model's graphs on one core, without a server: steps by rows, ages and sources, encodes by tokens."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.capacity.costs import EncodeCost, StepCost
from benchmarks.capacity.fitting import Fit, fit
from service.model.onnx_model import OnnxModel
from service.model.slots import Slots

ROWS = (1, 2, 4, 8, 16, 32, 64)
SOURCES = (16, 48)
AGES = (4, 28, 60)
"""Target tokens of each row, whose steps are measured with NEIGHBOURS before and after them."""
NEIGHBOURS = 3
ENCODES = ((1, 16), (2, 16), (3, 16), (1, 32), (1, 48), (1, 64), (4, 16), (4, 48), (8, 32), (16, 48))
"""Sources and their length."""
NUM_ENCODES = 7


@dataclass(frozen=True)
class Point:
    """One measurement: what was measured, in words, and the median, in seconds."""

    what: str
    terms: tuple[float, ...]
    seconds: float


def measure_steps(model: OnnxModel, rounds: int) -> list[Point]:
    """Each the median over the rounds and the neighbours of an age."""
    ages = [age for age in AGES if age + NEIGHBOURS < model.manifest.max_target_length]
    points = []
    for rows in ROWS:
        for source in SOURCES:
            width = model.manifest.padded(source)
            found = np.array([_times(model, rows, source, max(ages) + NEIGHBOURS + 1) for _ in range(rounds)])
            for age in ages:
                seconds = float(np.median(found[:, age - NEIGHBOURS : age + NEIGHBOURS + 1]))
                terms = (1.0, rows, rows * age, rows * width)
                points.append(Point(f"{rows} rows, age {age}, source {source}", terms, seconds))
    return points


def measure_encodes(model: OnnxModel) -> list[Point]:
    points = []
    slots = Slots(model, 1)
    for number, length in ENCODES:
        if length > model.manifest.max_source_length:
            continue
        sources = _sources(model, number, length)
        times = []
        for _ in range(NUM_ENCODES):
            started = time.perf_counter()
            slots.encode(sources)
            times.append(time.perf_counter() - started)
        tokens = number * model.manifest.padded(length)
        terms = (1.0, tokens, tokens * model.manifest.padded(length))
        points.append(Point(f"{number} sources of {length}", terms, statistics.median(times)))
    return points


def fit_points(points: Sequence[Point]) -> Fit:
    return fit([point.terms for point in points], [point.seconds for point in points])


def step_cost(found: Fit) -> StepCost:
    fixed, row, age, source = found.coefficients
    return StepCost(fixed=fixed, row=row, age=age, source=source)


def encode_cost(found: Fit) -> EncodeCost:
    fixed, token, pair = found.coefficients
    return EncodeCost(fixed=fixed, token=token, pair=pair)


def _sources(model: OnnxModel, number: int, length: int) -> list[list[int]]:
    size = model.manifest.vocabulary.source_size
    ids: list[list[int]] = np.random.default_rng(1).integers(10, size, (number, length)).tolist()
    return ids


def _times(model: OnnxModel, rows: int, source: int, number: int) -> list[float]:
    """Seconds of each step, the first one first; each row goes on from its best token."""
    slots = Slots(model, rows)
    slots.join(slots.encode(_sources(model, rows, source)))
    times = []
    for _ in range(number):
        started = time.perf_counter()
        slots.choose(slots.step().ids[:, 0].tolist())
        times.append(time.perf_counter() - started)
    return times
