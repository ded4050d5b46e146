"""Where our parameters come from in a checkpoint of JoeyNMT, besides what `export.imports.origin` can say."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from export.imports.origin import Origin
from export.imports.weights import Weights


@dataclass(frozen=True)
class Columns(Origin):
    """Of a matrix, the columns of one range after those of another, each from the first to before the second."""

    ranges: tuple[tuple[int, int], ...] = ()

    def shape(self, weights: Weights) -> tuple[int, ...]:
        rows, columns = super().shape(weights)
        return rows, sum(len(range(columns)[slice(*one)]) for one in self.ranges)

    def read(self, weights: Weights) -> Tensor:
        whole = super().read(weights)
        return torch.cat([whole[:, slice(*one)] for one in self.ranges], 1)


@dataclass(frozen=True)
class Sum(Origin):
    """The sum of all tensors."""

    def shape(self, weights: Weights) -> tuple[int, ...]:
        return Origin(self.names[:1]).shape(weights)

    def read(self, weights: Weights) -> Tensor:
        first, *others = (weights.read(name) for name in self.names)
        return sum(others, first)
