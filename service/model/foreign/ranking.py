"""A foreign step's scores as log-probabilities, and the best of them. It does not know where they come from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

NEVER = np.float32(-1e4)
"""The log-probability of what is never made, in nats; a graph's own minus infinity counts as this too."""


def log_probabilities(scores: Floats, *, are_logits: bool) -> Floats:
    """scores (rows, vocabulary), logits or log-probabilities; what is not a number stays so."""
    if are_logits:
        shifted = scores - scores.max(axis=1, keepdims=True)
        scores = shifted - np.log(np.exp(shifted, dtype=np.float64).sum(axis=1, keepdims=True)).astype(np.float32)
    return np.maximum(scores, NEVER, dtype=np.float32)


def forbid(scores: Floats, positions: Ids, *, never: Sequence[int], end_id: int, min_length: int) -> None:
    """Take tokens out of each row: those that are never made, and the end of the sentence before its time."""
    scores[:, list(never)] = NEVER
    scores[positions < min_length, end_id] = NEVER


def best(scores: Floats, count: int) -> tuple[Ids, Floats]:
    """The best `count` tokens of each row and their scores, best first; of equal ones the lower id first."""
    order = np.argpartition(-scores, count - 1, axis=1)[:, :count] if count < scores.shape[1] else None
    if order is None or _has_ties(scores, order):
        ids = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    else:
        ids = np.take_along_axis(order, np.argsort(-np.take_along_axis(scores, order, 1), axis=1), 1)
    return ids.astype(np.int64), np.take_along_axis(scores, ids, 1)


def _has_ties(scores: Floats, chosen: Ids) -> bool:
    """Whether equal scores lie among the chosen ones, or one of them equals one that is not chosen."""
    values = np.sort(np.take_along_axis(scores, chosen, 1), axis=1)
    at_least_last = (scores >= values[:, :1]).sum(axis=1)
    return bool((values[:, 1:] == values[:, :-1]).any() or (at_least_last > chosen.shape[1]).any())
