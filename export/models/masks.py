"""Every mask of every model, made from lengths and positions alone. True marks what may be seen.

No caller of a graph ever sends a mask: the graphs contain these functions.
"""

from __future__ import annotations

import torch
from torch import Tensor


def source_mask(source_lengths: Tensor, source_length: int) -> Tensor:
    """(batch, source_length): the positions before each row's length."""
    return torch.arange(source_length, device=source_lengths.device)[None, :] < source_lengths[:, None]


def causal_mask(target_length: int, device: torch.device) -> Tensor:
    """(target_length, target_length): row t sees positions 0..t (Vaswani et al. 2017, section 3.2.3)."""
    return torch.ones(target_length, target_length, dtype=torch.bool, device=device).tril()


def written_mask(positions: Tensor, capacity: int) -> Tensor:
    """(batch, capacity): the entries of a growing state written so far, the current step's included."""
    return torch.arange(capacity, device=positions.device)[None, :] <= positions[:, None]


def hide(scores: Tensor, visible: Tensor) -> Tensor:
    """Attention scores with every hidden position at minus infinity, so that its weight is exactly zero.

    Every row must see at least one position, or its weights are not numbers.
    """
    return scores.masked_fill(~visible, float("-inf"))
