"""Random numbers that belong to a request: the same for the same seed and position, whoever shares the step."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MAX_SEED = 2**64 - 1
_UNIT = 2.0**-52


def gumbel_noise(seed: int, position: int, size: int) -> npt.NDArray[np.float32]:
    """(size,) draws from the standard Gumbel distribution for one step: argmax(log p + noise) draws from p.

    seed from 0 to MAX_SEED. The numbers come from the counter-based Philox generator (Salmon et al. 2011), keyed by the
    seed, at a counter that the position sets: a step needs no memory of the steps before it.
    """
    return np.asarray(-np.log(-np.log(_uniform(seed, 0, position, size))), np.float32)


def uniform(seed: int, draw: int, position: int) -> float:
    """One number in (0, 1) for one step of one draw, from 1, made in the same way."""
    return float(_uniform(seed, draw, position, 1)[0])


def _uniform(seed: int, stream: int, position: int, size: int) -> npt.NDArray[np.float64]:
    key, counter = np.array([seed, stream], np.uint64), np.array([0, 0, 0, position], np.uint64)
    raw = np.random.Philox(key=key, counter=counter).random_raw(size)
    return ((raw >> np.uint64(12)).astype(np.float64) + 0.5) * _UNIT
