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

    for X (batch, length, hidden) and M (batch, memory_length, hidden), with biases or without. Any number of heads, of
    any size, as long as nothing is said hidden / num_heads. `projection` holds W_Q, W_K and W_V of all heads, in this
    order.

    Three uses, which differ in M and in what `visible` hides: self-attention, M = X and padding is hidden; causal
    self-attention, M = X and later positions are hidden; cross-attention, M is the encoder's output and its padding is
    hidden. The `step_` methods compute one row of X with what M has given so far: growing keys and values, or constant
    ones.
    """

    def __init__(
        self,
        hidden: int,
        num_heads: int,
        *,
        head_size: int | None = None,
        biases: bool = True,
        scaled: bool = True,
    ) -> None:
        """scaled: by 1 / sqrt(head_size); T5 leaves that out (Raffel et al. 2020)."""
        super().__init__()
        head_size = head_size or hidden // num_heads
        self.num_heads = num_heads
        self.inner = num_heads * head_size
        self.scale = head_size**-0.5 if scaled else 1.0
        self.projection = nn.Linear(hidden, 3 * self.inner, bias=biases)
        self.output = nn.Linear(self.inner, hidden, bias=biases)

    def forward(
        self, x: Tensor, visible: Tensor, memory: Tensor | None = None, position_bias: Tensor | None = None
    ) -> Tensor:
        """All positions of x (batch, length, hidden) at once; keys and values come from memory (batch,
        memory_length, hidden), or from x itself. visible and position_bias, which is added to the scores, broadcast to
        (batch, heads, length, memory_length)."""
        if memory is None:
            query, key, value = (self._split(part) for part in self._packed(x).chunk(3, -1))
        else:
            query = self._split(self._query(x))
            key, value = self._keys_and_values(memory)
        attended, _ = attend(query, key.transpose(2, 3), value, visible, position_bias)
        return self.output(attended.transpose(1, 2).reshape(*x.shape[:2], self.inner))

    def keys_and_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """What `step_cross` needs of memory (batch, memory_length, hidden), whatever the query: keys (batch, heads,
        head_size, memory_length), in columns, and values (batch, heads, memory_length, head_size)."""
        key, value = self._keys_and_values(memory)
        return key.transpose(2, 3), value

    def step_self(
        self,
        x: Tensor,
        key_cache: Tensor,
        value_cache: Tensor,
        positions: Tensor,
        position_bias: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Causal self-attention of one new position of x (batch, hidden): the output and both new caches, (batch,
        heads, capacity, head_size). position_bias (batch, heads, capacity) is added to the scores."""
        attended, new_keys, new_values = cached_self_attention(
            self._packed(x), key_cache, value_cache, positions, position_bias
        )
        return self.output(attended), new_keys, new_values

    def step_cross(self, x: Tensor, keys: Tensor, values: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-attention of one position of x (batch, hidden) to what `keys_and_values` gave: the output, and the
        weights (batch, heads, memory_length). visible is (batch, memory_length)."""
        batch = x.shape[0]
        query = self._query(x).reshape(batch, self.num_heads, 1, -1)
        attended, weights = attend(query, keys, values, visible[:, None, None])
        return self.output(attended.reshape(batch, self.inner)), weights[:, :, 0]

    def _packed(self, x: Tensor) -> Tensor:
        """Queries, scaled, keys and values (..., 3 x inner)."""
        scale = torch.ones(self.projection.out_features, device=x.device, dtype=x.dtype)
        scale[: self.inner] = self.scale
        return self._project(x, slice(None), None if self.scale == 1.0 else scale)

    def _keys_and_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        key, value = self._project(memory, slice(self.inner, None)).chunk(2, -1)
        return self._split(key), self._split(value)

    def _query(self, x: Tensor) -> Tensor:
        scale = None if self.scale == 1.0 else x.new_full((self.inner,), self.scale)
        return self._project(x, slice(self.inner), scale)

    def _project(self, x: Tensor, part: slice, scale: Tensor | None = None) -> Tensor:
        """By some rows of the projection; its weights take their scale, instead of every step's scores."""
        weight = self.projection.weight[part]
        bias = None if self.projection.bias is None else self.projection.bias[part]
        if scale is not None:
            weight, bias = weight * scale[:, None], None if bias is None else bias * scale
        return F.linear(x, weight, bias)

    def _split(self, x: Tensor) -> Tensor:
        """(batch, length, hidden) -> (batch, heads, length, head_size)."""
        batch, length, _ = x.shape
        return x.reshape(batch, length, self.num_heads, -1).transpose(1, 2)


def attend(
    query: Tensor, key_columns: Tensor, value: Tensor, visible: Tensor, position_bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """softmax(Q K^T + position_bias) V of queries that are scaled by 1 / sqrt(head_size) (Vaswani et al. 2017,
    equation 1), and the softmax.

    query (batch, heads, query_length, head_size), key_columns (batch, heads, head_size, key_length), value (batch,
    heads, key_length, head_size); visible and position_bias broadcast to the weights (batch, heads, query_length,
    key_length).
    """
    scores = torch.matmul(query, key_columns)
    if position_bias is not None:
        scores = scores + position_bias
    weights = masks.hide(scores, visible).softmax(-1)
    return torch.matmul(weights, value), weights
