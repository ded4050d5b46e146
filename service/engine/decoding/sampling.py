"""Draws tokens instead of taking the best: temperature, then top_k, top_p and min_p."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from service.engine.decoding.continuation import Continuation, Target
from service.engine.request import Sampling
from service.model.noise import uniform
from service.model.row import Ranked, Row

FIRST_COUNT, GROWTH = 64, 16
"""So many tokens are ranked at first, and so many times more where the draw falls beyond them."""


class Draw:
    """A token in proportion to what the request leaves of the model's probabilities.

    The number that decides comes from the request's seed, the line and the position alone.
    """

    def __init__(self, continuation: Continuation, sampling: Sampling, seed: int) -> None:
        self._continuation = continuation
        self._sampling = sampling
        self._seed = seed

    def begin(self, target: Target, row: Row) -> Ranked:
        return [self.choose(line, target, row) for line in range(self._continuation.decoding.num_hypotheses)]

    def choose(self, line: int, target: Target, row: Row) -> tuple[int, float]:
        number = uniform(self._seed, line + 1, len(target))
        sampling, temperature = self._sampling, self._sampling.temperature
        count = sampling.top_k or (row.vocabulary_size if self._continuation.has_rules else FIRST_COUNT)
        while True:
            ranked = self._continuation.best(target, row, count)
            values = np.array([value for _, value in ranked])
            weights = np.exp((values - values[0]) / temperature)
            is_all = bool(sampling.top_k) or len(ranked) < count or count >= row.vocabulary_size
            total = weights.sum() if is_all else self._continuation.weighed(target, row).sum_of_weights(temperature)
            place = draw(weights / total, sampling, number, is_all=is_all)
            if place is not None:
                return ranked[place]
            count *= GROWTH


def draw(probabilities: npt.NDArray[np.float64], sampling: Sampling, number: float, *, is_all: bool) -> int | None:
    """The place that a number in (0, 1) falls on among the probabilities that top_p (Holtzman et al. 2020) and min_p
    (Nguyen et al. 2024) leave. They are given best first, all or only the greatest ones; None where more must be known.
    """
    sums = probabilities.cumsum()
    kept = min(
        int((sums - probabilities < sampling.top_p).sum()),
        int((probabilities >= sampling.min_p * probabilities[0]).sum()),
    )
    is_cut = kept < len(probabilities) or is_all
    is_open = sampling.top_p == 1.0 and sampling.min_p == 0.0
    if not is_cut and not is_open:
        return None
    place = int(np.searchsorted(sums[:kept], number * (sums[kept - 1] if is_cut else 1.0), side="right"))
    if place < kept:
        return place
    return kept - 1 if is_cut else None
