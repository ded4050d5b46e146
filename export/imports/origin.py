"""Where a parameter of ours comes from in a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from export.errors import ImportedModelError
from export.imports.weights import Weights


@dataclass(frozen=True)
class Origin:
    """Where one of our parameters comes from: tensors of the checkpoint, one under another, the first of which is
    multiplied by `scale`; of what comes of that, the rows from the first to before the second of `rows`."""

    names: tuple[str, ...]
    scale: float = 1.0
    rows: tuple[int, int | None] = (0, None)

    def shape(self, weights: Weights) -> tuple[int, ...]:
        """Of the parameter; raises ImportedModelError for a tensor that is missing or does not fit under the first."""
        shapes = self._shapes(weights)
        return (len(range(sum(one[0] for one in shapes))[slice(*self.rows)]), *shapes[0][1:])

    def read(self, weights: Weights) -> Tensor:
        """The parameter in float32; raises ImportedModelError."""
        if len(self.names) == 1 and self.scale == 1.0 and self.rows == (0, None):
            return weights.read(self.names[0])
        shapes = self._shapes(weights)
        whole = torch.empty(sum(one[0] for one in shapes), *shapes[0][1:])
        parts = torch.split(whole, [one[0] for one in shapes])
        for name, part in zip(self.names, parts, strict=True):
            weights.copy(name, part)
        if self.scale != 1.0:
            parts[0].mul_(self.scale)
        return whole[slice(*self.rows)].clone() if self.rows != (0, None) else whole

    def _shapes(self, weights: Weights) -> list[tuple[int, ...]]:
        shapes = [weights.shape(name) for name in self.names]
        for name, shape in zip(self.names, shapes, strict=True):
            if shape[1:] != shapes[0][1:]:
                raise ImportedModelError(f"{name} is {list(shape)}, which does not fit under {list(shapes[0])}")
        return shapes
