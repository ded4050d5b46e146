"""How a Transformer knows where a token stands: sinusoids, or a bias for each distance. It does not know layers."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

Sinusoids = Literal["tensor2tensor", "vaswani", "alternating"]


def sinusoidal_positions(length: int, hidden: int, rates: Sinusoids = "tensor2tensor") -> Tensor:
    """(length, hidden) position encodings, all sines before all cosines, or in turn. Their rates fall from 1 to
    1 / 10,000 in hidden / 2 steps in the paper (Vaswani et al. 2017, section 3.5), in one fewer in tensor2tensor."""
    half = hidden // 2
    if rates == "alternating":
        falling = torch.arange(0, hidden, 2, device="cpu") * (-math.log(10_000.0) / hidden)
        angles = torch.arange(length, device="cpu")[:, None] * torch.exp(falling)
        return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
    if rates == "vaswani":
        places = torch.arange(length, dtype=torch.float64, device="cpu")
        angles = places[:, None] / 10_000.0 ** (torch.arange(half, dtype=torch.float64, device="cpu") / half)
    else:
        falling = torch.arange(half, device="cpu") * (-math.log(10_000.0) / (half - 1))
        angles = torch.arange(length, device="cpu")[:, None] * torch.exp(falling)
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


class RelativePositions(nn.Module):
    """A learned bias for each head and each distance between two positions, which all layers add to their scores;
    distances share buckets that grow with them (Raffel et al. 2020, section 2.1)."""

    def __init__(self, num_heads: int, num_buckets: int, max_distance: int, *, bidirectional: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_buckets, num_heads))
        self._max_distance = max_distance
        self._bidirectional = bidirectional
        self._buckets: Tensor
        self.register_buffer("_buckets", self._bucket_of_each_distance(num_buckets), persistent=False)

    def within(self, length: int, device: torch.device) -> Tensor:
        """(1, heads, length, length): of each position, in rows, to each other one."""
        places = torch.arange(length, device=device)
        return self._biases(places[None, :] - places[:, None])

    def before(self, positions: Tensor, capacity: int) -> Tensor:
        """(batch, heads, capacity): of positions (batch,) to each place of a growing state."""
        places = torch.arange(capacity, device=positions.device)
        return self._biases(places[None, :] - positions[:, None])[0].transpose(0, 1)

    def _biases(self, distances: Tensor) -> Tensor:
        """distances (a, b), key minus query -> (1, heads, a, b)."""
        most = self._max_distance
        least = -most if self._bidirectional else 0
        index = (distances if self._bidirectional else -distances).clamp(least, most) - least
        return self.weight[self._buckets].transpose(0, 1)[None][:, :, index]

    def _bucket_of_each_distance(self, num_buckets: int) -> Tensor:
        """Half of the buckets are one distance each, the others grow by a constant factor up to max_distance."""
        distances = torch.arange(self._max_distance + 1, device="cpu")
        size = num_buckets // 2 if self._bidirectional else num_buckets
        exact = size // 2
        growing = torch.log(distances.float() / exact) / math.log(self._max_distance / exact) * (size - exact)
        large = exact + growing.clamp(min=0).to(torch.long)
        buckets = torch.where(distances < exact, distances, large.clamp(max=size - 1))
        return torch.cat([buckets.flip(0), buckets[1:] + size]) if self._bidirectional else buckets
