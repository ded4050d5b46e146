"""Least squares of relative errors without negative coefficients: a cost that grows by less than nothing is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Fit:
    """coefficients: one for each column; errors: fitted / measured - 1 for each row."""

    coefficients: tuple[float, ...]
    errors: tuple[float, ...]

    @property
    def typical_error(self) -> float:
        """The root of the mean square of the errors."""
        return float(np.sqrt(np.mean(np.square(self.errors))))

    @property
    def worst_error(self) -> float:
        return max(map(abs, self.errors))


def fit(terms: Sequence[Sequence[float]], seconds: Sequence[float]) -> Fit:
    """seconds as a sum of the terms: (measurements, columns) and (measurements,), each second above 0."""
    columns, measured = np.array(terms, np.float64), np.array(seconds, np.float64)
    weighted = columns / measured[:, None]
    kept = list(range(columns.shape[1]))
    while True:
        found = np.linalg.lstsq(weighted[:, kept], np.ones(len(measured)), rcond=None)[0]
        if found.min() >= 0:
            break
        del kept[int(found.argmin())]
    coefficients = np.zeros(columns.shape[1])
    coefficients[kept] = found
    errors = weighted @ coefficients - 1
    return Fit(tuple(map(float, coefficients)), tuple(map(float, errors)))
