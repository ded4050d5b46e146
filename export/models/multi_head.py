"""Multi-head attention: one class for self-attention, causal self-attention and cross-attention. It does not know the
model around it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.models import masks
from export.models.operators import cached_self_attention


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention in several heads (Vaswani et al. 2017, section 3.2.2):

        MultiHead(X, M) = [head_1; ...; head_h] W_O,   head_i = attend(X W_Q_i, M W_K_i, M W_V_i)

    with biases, for X (batch, length, hidden) and M (batch, memory_length, hidden). Any number of heads that divides
    hidden, each of head_size hidden / num_heads. `projection` holds W_Q, W_K and W_V of all heads, in this order.

    Three uses, which differ in M and in what `visible` hides: self-attention, M = X and padding is hidden; causal
    self-attention, M = X and later positions are hidden; cross-attention, M is the encoder's output and its padding is
    hidden. The `step_` methods compute one row of X with what M has given so far: growing keys and values, or constant
    ones.
    """

    def __init__(self, hidden: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.projection = nn.Linear(hidden, 3 * hidden)
        self.output = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor, visible: Tensor, memory: Tensor | None = None) -> Tensor:
        """All positions of x (batch, length, hidden) at once; keys and values come from memory (batch,
        memory_length, hidden), or from x itself. visible broadcasts to (batch, heads, length, memory_length)."""
        if memory is None:
            query, key, value = (self._split(part) for part in self._packed(x).chunk(3, -1))
        else:
            query = self._split(self._query(x))
            key, value = self._keys_and_values(memory)
        attended, _ = attend(query, key.transpose(2, 3), value, visible)
        batch, length, hidden = x.shape
        return self.output(attended.transpose(1, 2).reshape(batch, length, hidden))

    def keys_and_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """What `step_cross` needs of memory (batch, memory_length, hidden), whatever the query: keys (batch, heads,
        head_size, memory_length), in columns, and values (batch, heads, memory_length, head_size)."""
        key, value = self._keys_and_values(memory)
        return key.transpose(2, 3), value

    def step_self(
        self, x: Tensor, key_cache: Tensor, value_cache: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Causal self-attention of one new position of x (batch, hidden): the output and both new caches, (batch,
        heads, capacity, head_size)."""
        attended, new_keys, new_values = cached_self_attention(self._packed(x), key_cache, value_cache, positions)
        return self.output(attended), new_keys, new_values

    def step_cross(self, x: Tensor, keys: Tensor, values: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-attention of one position of x (batch, hidden) to what `keys_and_values` gave: the output, and the
        weights (batch, heads, memory_length). visible is (batch, memory_length)."""
        batch, hidden = x.shape
        query = self._query(x).reshape(batch, self.num_heads, 1, -1)
        attended, weights = attend(query, keys, values, visible[:, None, None])
        return self.output(attended.reshape(batch, hidden)), weights[:, :, 0]

    def _packed(self, x: Tensor) -> Tensor:
        """Queries, scaled, keys and values (..., 3 x hidden)."""
        scale = torch.ones(self.projection.out_features, device=x.device, dtype=x.dtype)
        scale[: x.shape[-1]] = self._scale(x.shape[-1])
        return F.linear(x, self.projection.weight * scale[:, None], self.projection.bias * scale)

    def _keys_and_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        hidden = memory.shape[-1]
        both = F.linear(memory, self.projection.weight[hidden:], self.projection.bias[hidden:])
        key, value = both.chunk(2, -1)
        return self._split(key), self._split(value)

    def _query(self, x: Tensor) -> Tensor:
        hidden = x.shape[-1]
        weight, bias, scale = self.projection.weight[:hidden], self.projection.bias[:hidden], self._scale(hidden)
        return F.linear(x, weight * scale, bias * scale)

    def _scale(self, hidden: int) -> float:
        """1 / sqrt(head_size), which the queries' weights take instead of every step's scores."""
        return (hidden // self.num_heads) ** -0.5

    def _split(self, x: Tensor) -> Tensor:
        """(batch, length, hidden) -> (batch, heads, length, head_size)."""
        batch, length, _ = x.shape
        return x.reshape(batch, length, self.num_heads, -1).transpose(1, 2)


def attend(query: Tensor, key_columns: Tensor, value: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    """softmax(Q K^T) V of queries that are scaled by 1 / sqrt(head_size) (Vaswani et al. 2017, equation 1), and the
    softmax.

    query (batch, heads, query_length, head_size), key_columns (batch, heads, head_size, key_length), value (batch,
    heads, key_length, head_size); visible broadcasts to the weights (batch, heads, query_length, key_length).
    """
    weights = masks.hide(torch.matmul(query, key_columns), visible).softmax(-1)
    return torch.matmul(weights, value), weights
