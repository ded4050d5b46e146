"""The layers of a Transformer, as its configuration says: where norms stand, of which kind they are, what lies between
two products. They do not know embeddings, positions or the model around them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.configuration import Activation, TransformerConfiguration
from export.models.contract import States
from export.models.multi_head import MultiHeadAttention
from export.models.ssru import Ssru

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
}


class RmsNorm(nn.Module):
    """x / sqrt(mean(x^2) + epsilon), scaled (Zhang and Sennrich 2019); in this form onnxruntime makes it one node."""

    def __init__(self, hidden: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden))
        self.eps = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def make_norm(config: TransformerConfiguration) -> nn.LayerNorm | RmsNorm:
    """A norm over the hidden axis."""
    kind = nn.LayerNorm if config.norm == "layer" else RmsNorm
    return kind(config.hidden_size, config.norm_epsilon)


class FeedForward(nn.Module):
    """W2 activation(W1 x) (Vaswani et al. 2017, equation 2), or W2 (activation(Wg x) * W1 x) with a gate (Shazeer
    2020)."""

    def __init__(self, config: TransformerConfiguration, inner: int) -> None:
        super().__init__()
        hidden, biases = config.hidden_size, config.biases
        self.activation = ACTIVATIONS[config.activation]
        self.inner = nn.Linear(hidden, inner, bias=biases)
        self.gate = nn.Linear(hidden, inner, bias=biases) if config.gated else None
        self.outer = nn.Linear(inner, hidden, bias=biases)

    def forward(self, x: Tensor) -> Tensor:
        if self.gate is None:
            return self.outer(self.activation(self.inner(x)))
        return self.outer(self.activation(self.gate(x)) * self.inner(x))


class _Layer(nn.Module):
    """Sublayers with a residual connection around each, normed before (Xiong et al. 2020) or after it."""

    def __init__(self, config: TransformerConfiguration, residual_scale: float) -> None:
        super().__init__()
        self.config = config
        self.residual_scale = residual_scale
        self.dropout = nn.Dropout(config.dropout)

    def _attention(self, num_heads: int) -> MultiHeadAttention:
        config = self.config
        return MultiHeadAttention(
            config.hidden_size,
            num_heads,
            head_size=config.head_size,
            biases=config.biases,
            scaled=config.scaled_attention,
        )

    def _before(self, norm: nn.Module, x: Tensor) -> Tensor:
        return norm(x) if self.config.norm_position == "before" else x

    def _after(self, norm: nn.Module, x: Tensor, added: Tensor) -> Tensor:
        """x, scaled (Wang et al. 2022, DeepNet), with what a sublayer adds."""
        total = (x if self.residual_scale == 1.0 else x * self.residual_scale) + added
        return total if self.config.norm_position == "before" else norm(total)


class EncoderLayer(_Layer):
    """Self-attention and feed-forward over (batch, source_length, hidden)."""

    def __init__(self, config: TransformerConfiguration) -> None:
        super().__init__(config, config.encoder_residual_scale or config.residual_scale)
        self.self_attention_norm = make_norm(config)
        self.self_attention = self._attention(config.encoder_num_heads or config.num_heads)
        self.feed_forward_norm = make_norm(config)
        self.feed_forward = FeedForward(config, config.encoder_feed_forward_size or config.feed_forward_size)

    def forward(self, x: Tensor, visible: Tensor, position_bias: Tensor | None = None) -> Tensor:
        """visible and position_bias broadcast to (batch, heads, source_length, source_length)."""
        norm = self.self_attention_norm
        attended = self.self_attention(self._before(norm, x), visible, position_bias=position_bias)
        x = self._after(norm, x, self.dropout(attended))
        norm = self.feed_forward_norm
        return self._after(norm, x, self.dropout(self.feed_forward(self._before(norm, x))))


class DecoderLayer(_Layer):
    """Causal self-attention, or a recurrent unit in its place, which the same norm belongs to; cross-attention and
    feed-forward."""

    def __init__(self, config: TransformerConfiguration) -> None:
        super().__init__(config, config.residual_scale)
        self.self_attention_norm = make_norm(config)
        recurrent = config.decoder_history == "ssru"
        self.self_attention = None if recurrent else self._attention(config.num_heads)
        self.recurrence = Ssru(config.hidden_size, projection=config.history_projection) if recurrent else None
        self.cross_attention_norm = make_norm(config)
        self.cross_attention = self._attention(config.num_heads)
        self.feed_forward_norm = make_norm(config)
        self.feed_forward = FeedForward(config, config.feed_forward_size)

    def forward(
        self, x: Tensor, causal: Tensor, memory: Tensor, source_visible: Tensor, position_bias: Tensor | None = None
    ) -> Tensor:
        """All positions of x (batch, target_length, hidden) at once, for training."""
        norm = self.self_attention_norm
        x = self._after(norm, x, self.dropout(self._history(x, causal, position_bias)))
        norm = self.cross_attention_norm
        attended = self.cross_attention(self._before(norm, x), source_visible, memory)
        x = self._after(norm, x, self.dropout(attended))
        norm = self.feed_forward_norm
        return self._after(norm, x, self.dropout(self.feed_forward(self._before(norm, x))))

    def step(
        self,
        x: Tensor,
        positions: Tensor,
        source_visible: Tensor,
        states: States,
        layer: int,
        position_bias: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, States]:
        """One position: x (batch, hidden) -> x, cross weights (batch, heads, source_length), and what the next position
        is to know of this one. position_bias is (batch, heads, capacity)."""
        norm = self.self_attention_norm
        known, new_states = self._step_history(x, positions, states, layer, position_bias)
        x = self._after(norm, x, known)
        norm = self.cross_attention_norm
        attended, weights = self.cross_attention.step_cross(
            self._before(norm, x),
            states[f"cross_keys_{layer}"],
            states[f"cross_values_{layer}"],
            source_visible,
        )
        x = self._after(norm, x, attended)
        norm = self.feed_forward_norm
        x = self._after(norm, x, self.feed_forward(self._before(norm, x)))
        return x, weights, new_states

    def _history(self, x: Tensor, causal: Tensor, position_bias: Tensor | None) -> Tensor:
        normed = self._before(self.self_attention_norm, x)
        if self.self_attention is not None:
            attended: Tensor = self.self_attention(normed, causal, position_bias=position_bias)
            return attended
        assert self.recurrence is not None
        known: Tensor = self.recurrence(normed)
        return known

    def _step_history(
        self, x: Tensor, positions: Tensor, states: States, layer: int, position_bias: Tensor | None
    ) -> tuple[Tensor, States]:
        normed = self._before(self.self_attention_norm, x)
        if self.self_attention is not None:
            keys, values = f"self_keys_{layer}", f"self_values_{layer}"
            attended, new_keys, new_values = self.self_attention.step_self(
                normed, states[keys], states[values], positions, position_bias
            )
            return attended, {keys: new_keys, values: new_values}
        assert self.recurrence is not None
        cell = f"cell_{layer}"
        known, new_cell = self.recurrence.step(normed, states[cell])
        return known, {cell: new_cell}
