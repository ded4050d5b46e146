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
from export.models.multi_head import MultiHeadAttention


def sinusoidal_positions(length: int, hidden: int) -> Tensor:
    """(length, hidden) position encodings (Vaswani et al. 2017, section 3.5), all sines before all cosines, as in
    tensor2tensor."""
    rates = torch.exp(torch.arange(hidden // 2) * (-math.log(10_000.0) / (hidden // 2 - 1)))
    angles = torch.arange(length)[:, None] * rates[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def mean_of_heads(weights: Tensor, heads: tuple[int, ...]) -> Tensor:
    """weights (batch, heads, source_length) -> (batch, source_length): the mean of some heads, of all where none is
    named.

    Head by head, since onnxruntime's ReduceMean adds many heads of a single row in another order.
    """
    chosen = [weights[:, head] for head in heads or range(weights.shape[1])]
    total = sum(chosen[1:], chosen[0])
    return total if len(chosen) == 1 else total / len(chosen)


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
    """x + self-attention(norm(x)), then x + feed-forward(norm(x)), over (batch, source_length, hidden)."""

    def __init__(self, config: TransformerConfiguration) -> None:
        super().__init__()
        self.self_attention_norm = nn.LayerNorm(config.hidden_size)
        self.self_attention = MultiHeadAttention(config.hidden_size, config.num_heads)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size)
        self.feed_forward = FeedForward(config.hidden_size, config.feed_forward_size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """visible broadcasts to (batch, heads, source_length, source_length)."""
        x = x + self.dropout(self.self_attention(self.self_attention_norm(x), visible))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class DecoderLayer(nn.Module):
    """Causal self-attention, cross-attention and feed-forward, each pre-normed with a residual connection."""

    def __init__(self, config: TransformerConfiguration) -> None:
        super().__init__()
        self.self_attention_norm = nn.LayerNorm(config.hidden_size)
        self.self_attention = MultiHeadAttention(config.hidden_size, config.num_heads)
        self.cross_attention_norm = nn.LayerNorm(config.hidden_size)
        self.cross_attention = MultiHeadAttention(config.hidden_size, config.num_heads)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size)
        self.feed_forward = FeedForward(config.hidden_size, config.feed_forward_size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, causal: Tensor, memory: Tensor, source_visible: Tensor) -> Tensor:
        """All positions of x (batch, target_length, hidden) at once, for training."""
        x = x + self.dropout(self.self_attention(self.self_attention_norm(x), causal))
        x = x + self.dropout(self.cross_attention(self.cross_attention_norm(x), source_visible, memory))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))

    def step(
        self, x: Tensor, positions: Tensor, source_visible: Tensor, states: States, layer: int
    ) -> tuple[Tensor, Tensor, States]:
        """One position: x (batch, hidden) -> x, cross weights (batch, heads, source_length), new caches."""
        keys, values = f"self_keys_{layer}", f"self_values_{layer}"
        attended, new_keys, new_values = self.self_attention.step_self(
            self.self_attention_norm(x), states[keys], states[values], positions
        )
        x = x + attended
        attended, weights = self.cross_attention.step_cross(
            self.cross_attention_norm(x),
            states[f"cross_keys_{layer}"],
            states[f"cross_values_{layer}"],
            source_visible,
        )
        x = x + attended
        x = x + self.feed_forward(self.feed_forward_norm(x))
        return x, weights, {keys: new_keys, values: new_values}


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
    def attention_description(self) -> str:
        """Such as "multi-head, layer 2, mean of heads 0, 3 (counted from 0)"."""
        heads = self.config.alignment_heads or range(self.config.num_heads)
        named = f"head {heads[0]}" if len(heads) == 1 else f"mean of heads {', '.join(map(str, heads))}"
        return f"multi-head, layer {self.config.alignment_layer}, {named} (counted from 0)"

    @property
    def state_specs(self) -> tuple[StateSpec, ...]:
        heads, head_size = self.config.num_heads, self.config.hidden_size // self.config.num_heads
        specs = []
        for kind, axis, prefix in (("constant", "source_length", "cross"), ("growing", "capacity", "self")):
            for layer in range(self.config.num_decoder_layers):
                for part in ("keys", "values"):
                    columns = prefix == "cross" and part == "keys"
                    axes = ("batch", heads, head_size, axis) if columns else ("batch", heads, axis, head_size)
                    specs.append(StateSpec(f"{prefix}_{part}_{layer}", kind, axes))  # type: ignore[arg-type]
        return tuple(specs)

    def encode(self, source_ids: Tensor, source_lengths: Tensor) -> States:
        memory, _ = self._memory(source_ids, source_lengths)
        states = {}
        for i, layer in enumerate(self.decoder_layers):
            states[f"cross_keys_{i}"], states[f"cross_values_{i}"] = layer.cross_attention.keys_and_values(memory)  # type: ignore[union-attr,operator]
        return states

    def step(self, token_ids: Tensor, positions: Tensor, source_lengths: Tensor, states: States) -> StepOutput:
        """As `TranslationModel.step`; attention is the mean of the configured heads of the configured layer."""
        x, weights, new_states = self._advance(token_ids, positions, source_lengths, states)
        attention = mean_of_heads(weights[self.config.alignment_layer], self.config.alignment_heads)
        return StepOutput(self._logits(x), attention, new_states)

    def cross_attention_weights(self, source_ids: Tensor, source_lengths: Tensor, target_ids: Tensor) -> Tensor:
        """Every decoder layer's and head's weights (layers, batch, heads, target_length, source_length).

        target_ids (batch, target_length) are given to `step` one after another, `BEGIN_ID` first: entry t holds what
        the step computes that predicts the token after target_ids[:, t].
        """
        target_length = target_ids.shape[1]
        states = self.initial_states(source_ids, source_lengths, target_length)
        steps = []
        for position, token_ids in enumerate(target_ids.unbind(1)):
            positions = torch.full_like(token_ids, position)
            _, weights, new_states = self._advance(token_ids, positions, source_lengths, states)
            states = states | new_states
            steps.append(torch.stack(weights))
        return torch.stack(steps, 3)

    def forward(self, source_ids: Tensor, source_lengths: Tensor, target_ids: Tensor) -> Tensor:
        memory, visible = self._memory(source_ids, source_lengths)
        target_length = target_ids.shape[1]
        causal = masks.causal_mask(target_length, target_ids.device)
        x = self.dropout(self._embed(target_ids, self.position_encodings[:target_length]))
        for layer in self.decoder_layers:
            x = layer(x, causal, memory, visible)
        return self._logits(x)

    def _advance(
        self, token_ids: Tensor, positions: Tensor, source_lengths: Tensor, states: States
    ) -> tuple[Tensor, list[Tensor], States]:
        """One position: x (batch, hidden), each layer's cross-attention weights (batch, heads, source_length), and
        every growing state, new."""
        x = self._embed(token_ids, self.position_encodings[positions])
        visible = masks.source_mask(source_lengths, states["cross_keys_0"].shape[3])
        all_weights, new_states = [], States()
        for i, layer in enumerate(self.decoder_layers):
            x, weights, caches = layer.step(x, positions, visible, states, i)  # type: ignore[operator]
            all_weights.append(weights)
            new_states |= caches
        return x, all_weights, new_states

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
