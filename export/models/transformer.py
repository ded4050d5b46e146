"""The pre-norm Transformer with tied embeddings (Vaswani et al. 2017; pre-norm: Xiong et al. 2020).

It does not know how it is trained, exported or served.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.configuration import TransformerConfiguration
from export.models import masks
from export.models.contract import PAD_ID, States, StateSpec, StepOutput, TranslationModel
from export.models.operators import cached_self_attention


def sinusoidal_positions(length: int, hidden: int) -> Tensor:
    """(length, hidden) position encodings: sines, then cosines (Vaswani et al. 2017, section 3.5)."""
    rates = torch.exp(torch.arange(hidden // 2) * (-math.log(10_000.0) / (hidden // 2 - 1)))
    angles = torch.arange(length)[:, None] * rates[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class FeedForward(nn.Module):
    """W2 relu(W1 x) with biases (Vaswani et al. 2017, equation 2)."""

    def __init__(self, hidden: int, inner: int) -> None:
        super().__init__()
        self.inner = nn.Linear(hidden, inner)
        self.outer = nn.Linear(inner, hidden)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.outer(F.relu(self.inner(x)))
        return out


class EncoderLayer(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)), over (batch, source_length, hidden)."""

    def __init__(self, config: TransformerConfiguration) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.attention_norm = nn.LayerNorm(config.hidden_size)
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.attention_output = nn.Linear(config.hidden_size, config.hidden_size)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size)
        self.feed_forward = FeedForward(config.hidden_size, config.feed_forward_size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """visible broadcasts to (batch, heads, source_length, source_length)."""
        query, key, value = (
            split_heads(part, self.num_heads) for part in self.query_key_value(self.attention_norm(x)).chunk(3, -1)
        )
        x = x + self.dropout(self.attention_output(attend(query, key, value, visible)))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention and feed-forward, each pre-normed with a residual connection."""

    def __init__(self, config: TransformerConfiguration) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.num_heads = config.num_heads
        self.self_norm = nn.LayerNorm(hidden)
        self.query_key_value = nn.Linear(hidden, 3 * hidden)
        self.self_output = nn.Linear(hidden, hidden)
        self.cross_norm = nn.LayerNorm(hidden)
        self.cross_query = nn.Linear(hidden, hidden)
        self.cross_key_value = nn.Linear(hidden, 2 * hidden)
        self.cross_output = nn.Linear(hidden, hidden)
        self.feed_forward_norm = nn.LayerNorm(hidden)
        self.feed_forward = FeedForward(hidden, config.feed_forward_size)
        self.dropout = nn.Dropout(config.dropout)

    def cross_states(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-attention keys and values (batch, heads, source_length, head_size) of an encoded source."""
        key, value = self.cross_key_value(memory).chunk(2, -1)
        return split_heads(key, self.num_heads), split_heads(value, self.num_heads)

    def forward(self, x: Tensor, causal: Tensor, memory: Tensor, source_visible: Tensor) -> Tensor:
        """All positions of x (batch, target_length, hidden) at once, for training."""
        query, key, value = (
            split_heads(part, self.num_heads) for part in self.query_key_value(self.self_norm(x)).chunk(3, -1)
        )
        x = x + self.dropout(self.self_output(attend(query, key, value, causal)))
        query = split_heads(self.cross_query(self.cross_norm(x)), self.num_heads)
        x = x + self.dropout(self.cross_output(attend(query, *self.cross_states(memory), source_visible)))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))

    def step(
        self, x: Tensor, positions: Tensor, source_visible: Tensor, states: States, layer: int
    ) -> tuple[Tensor, Tensor, States]:
        """One position: x (batch, hidden) -> x, cross weights (batch, heads, source_length), new caches."""
        batch, hidden = x.shape
        query, key, value = (
            part.reshape(batch, self.num_heads, -1) for part in self.query_key_value(self.self_norm(x)).chunk(3, -1)
        )
        attended, new_keys, new_values = cached_self_attention(
            query, key, value, states[f"self_keys_{layer}"], states[f"self_values_{layer}"], positions
        )
        x = x + self.self_output(attended.reshape(batch, hidden))
        query = self.cross_query(self.cross_norm(x)).reshape(batch, self.num_heads, 1, -1)
        keys, values = states[f"cross_keys_{layer}"], states[f"cross_values_{layer}"]
        scores = torch.matmul(query, keys.transpose(2, 3)) / math.sqrt(query.shape[-1])
        weights = masks.hide(scores, source_visible[:, None, None]).softmax(-1)
        x = x + self.cross_output(torch.matmul(weights, values).reshape(batch, hidden))
        x = x + self.feed_forward(self.feed_forward_norm(x))
        return x, weights[:, :, 0], {f"self_keys_{layer}": new_keys, f"self_values_{layer}": new_values}


class Transformer(TranslationModel):
    """Source and target share one embedding with the output layer (Press and Wolf 2017)."""

    def __init__(self, config: TransformerConfiguration, vocabulary_size: int) -> None:
        super().__init__()
        self.config = config
        self.vocabulary_size = vocabulary_size
        self.embedding = nn.Embedding(vocabulary_size, config.hidden_size, padding_idx=PAD_ID)
        self.encoder_layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_encoder_layers))
        self.encoder_norm = nn.LayerNorm(config.hidden_size)
        self.decoder_layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_decoder_layers))
        self.decoder_norm = nn.LayerNorm(config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.position_encodings: Tensor
        self.register_buffer(
            "position_encodings", sinusoidal_positions(config.max_positions, config.hidden_size), persistent=False
        )
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        nn.init.normal_(self.embedding.weight, std=config.hidden_size**-0.5)

    @property
    def state_specs(self) -> tuple[StateSpec, ...]:
        heads, head_size = self.config.num_heads, self.config.hidden_size // self.config.num_heads
        specs = []
        for kind, axis, prefix in (("constant", "source_length", "cross"), ("growing", "capacity", "self")):
            for layer in range(self.config.num_decoder_layers):
                for part in ("keys", "values"):
                    axes = ("batch", heads, axis, head_size)
                    specs.append(StateSpec(f"{prefix}_{part}_{layer}", kind, axes))  # type: ignore[arg-type]
        return tuple(specs)

    def encode(self, source_ids: Tensor, source_lengths: Tensor) -> States:
        memory, _ = self._memory(source_ids, source_lengths)
        states = {}
        for i, layer in enumerate(self.decoder_layers):
            states[f"cross_keys_{i}"], states[f"cross_values_{i}"] = layer.cross_states(memory)  # type: ignore[operator]
        return states

    def step(self, token_ids: Tensor, positions: Tensor, source_lengths: Tensor, states: States) -> StepOutput:
        x = self._embed(token_ids, self.position_encodings[positions])
        visible = masks.source_mask(source_lengths, states["cross_keys_0"].shape[2])
        new_states: States = {}
        for i, layer in enumerate(self.decoder_layers):
            x, weights, caches = layer.step(x, positions, visible, states, i)  # type: ignore[operator]
            new_states |= caches
            if i == self.config.alignment_layer:
                attention = weights.mean(1)
        return StepOutput(self._logits(x), attention, new_states)

    def forward(self, source_ids: Tensor, source_lengths: Tensor, target_ids: Tensor) -> Tensor:
        memory, visible = self._memory(source_ids, source_lengths)
        target_length = target_ids.shape[1]
        causal = masks.causal_mask(target_length, target_ids.device)
        x = self.dropout(self._embed(target_ids, self.position_encodings[:target_length]))
        for layer in self.decoder_layers:
            x = layer(x, causal, memory, visible)
        return self._logits(x)

    def _memory(self, source_ids: Tensor, source_lengths: Tensor) -> tuple[Tensor, Tensor]:
        source_length = source_ids.shape[1]
        visible = masks.source_mask(source_lengths, source_length)[:, None, None, :]
        x = self.dropout(self._embed(source_ids, self.position_encodings[:source_length]))
        for layer in self.encoder_layers:
            x = layer(x, visible)
        return self.encoder_norm(x), visible

    def _embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        return self.embedding(ids) * math.sqrt(self.config.hidden_size) + positions

    def _logits(self, x: Tensor) -> Tensor:
        return F.linear(self.decoder_norm(x), self.embedding.weight)


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(batch, length, hidden) -> (batch, heads, length, head_size)."""
    batch, length, _ = x.shape
    return x.reshape(batch, length, num_heads, -1).transpose(1, 2)


def attend(query: Tensor, key: Tensor, value: Tensor, visible: Tensor) -> Tensor:
    """Multi-head scaled dot-product attention (Vaswani et al. 2017, equation 1), heads merged again.

    query (batch, heads, query_length, head_size), key and value (batch, heads, key_length, head_size);
    visible broadcasts to (batch, heads, query_length, key_length). Returns (batch, query_length, hidden).
    """
    scores = torch.matmul(query, key.transpose(2, 3)) / math.sqrt(query.shape[-1])
    attended = torch.matmul(masks.hide(scores, visible).softmax(-1), value)
    batch, _, query_length, _ = query.shape
    return attended.transpose(1, 2).reshape(batch, query_length, -1)
