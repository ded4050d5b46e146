"""What one row of a step may continue with: its tokens, ranked by their log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

import numpy as np

from service.model.errors import NotFiniteError
from service.model.onnx_model import Floats

Ranked = list[tuple[int, float]]
"""Tokens with their natural log-probabilities, best first; of equal ones the lower id first."""


class Row:
    """The result of one row of a step. It is valid until the next step overwrites what it looks at."""

    def __init__(self, ids: list[int], log_probabilities: list[float], logits: Floats | Callable[[], Floats]) -> None:
        """ids and log_probabilities are of the best tokens, best first; logits (vocabulary,) of all."""
        self.ids = ids
        self.log_probabilities = log_probabilities
        self._given = logits

    @property
    def _logits(self) -> Floats:
        return self._given if isinstance(self._given, np.ndarray) else self._given()

    @property
    def vocabulary_size(self) -> int:
        return len(self._logits)

    def best(self, count: int) -> Ranked:
        """The best `count` tokens, or all where there are no more."""
        if count <= len(self.ids):
            return list(zip(self.ids[:count], self.log_probabilities, strict=False))
        logits = self._logits
        places = np.arange(len(logits))
        if count < len(logits):
            smallest = np.partition(logits, len(logits) - count)[len(logits) - count]
            places = np.flatnonzero(logits >= smallest)
        order = places[np.lexsort((places, -logits[places]))][:count]
        values = logits[order] - np.float32(self._normalizer())
        return list(zip(order.tolist(), values.tolist(), strict=True))

    def log_probability(self, token_id: int) -> float:
        """Of any token."""
        if token_id in self.ids:
            return self.log_probabilities[self.ids.index(token_id)]
        return float(self._logits[token_id] - np.float32(self._normalizer()))

    def sum_of_weights(self, temperature: float) -> float:
        """Of all tokens: the probability over the best one's, to the power of 1 / temperature."""
        above = (self._logits - self._logits[self.ids[0]]).astype(np.float64)
        return float(np.exp(above / temperature).sum())

    def penalized(self, token_ids: Collection[int], penalty: float) -> Row:
        """The row with the logits of some tokens made smaller: divided by `penalty` where they are positive, multiplied
        where they are not (Keskar et al. 2019, section 4.1). Raises NotFiniteError where no probabilities are left of
        that."""
        logits = self._logits.copy()
        places = np.fromiter(set(token_ids), np.int64)
        values = logits[places]
        factor = np.float32(penalty)
        with np.errstate(over="ignore"):
            logits[places] = np.where(values < 0, values * factor, values / factor)
        best = int(logits.argmax())
        top = float(logits[best])
        if not math.isfinite(top):
            raise NotFiniteError("the repetition penalty makes a logit that is no finite number")
        normalizer = top + math.log(float(np.exp(logits - np.float32(top)).sum(dtype=np.float64)))
        return Row([best], [float(np.float32(top - normalizer))], logits)

    def _normalizer(self) -> float:
        return float(self._logits[self.ids[0]]) - self.log_probabilities[0]
