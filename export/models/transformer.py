"""The Transformer (Vaswani et al. 2017), one for every arrangement that a configuration describes: trained here, or
imported.

It does not know how it is trained, exported or served.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.configuration import TransformerConfiguration
from export.models import masks
from export.models.contract import States, StateSpec, StepOutput, TranslationModel
from export.models.control_tokens import PAD_ID
from export.models.positions import RelativePositions, sinusoidal_positions
from export.models.transformer_layers import DecoderLayer, EncoderLayer, make_norm


def mean_of_heads(weights: Tensor, heads: tuple[int, ...]) -> Tensor:
    """weights (batch, heads, source_length) -> (batch, source_length): the mean of some heads, of all where none is
    named.

    Head by head, since onnxruntime's ReduceMean adds many heads of a single row in another order.
    """
    chosen = [weights[:, head] for head in heads or range(weights.shape[1])]
    total = sum(chosen[1:], chosen[0])
    return total if len(chosen) == 1 else total / len(chosen)


class Transformer(TranslationModel):
    """Source and target share one embedding with the output layer (Press and Wolf 2017), where the configuration does
    not say otherwise."""

    def __init__(
        self, config: TransformerConfiguration, vocabulary_size: int, source_vocabulary_size: int | None = None
    ) -> None:
        """source_vocabulary_size: where the source has a vocabulary of its own."""
        super().__init__()
        self.config = config
        self.vocabulary_size = vocabulary_size
        hidden = config.hidden_size
        if config.shared_embedding:
            self.embedding = nn.Embedding(vocabulary_size, hidden, padding_idx=PAD_ID)
        else:
            self.embedding = nn.Embedding(source_vocabulary_size or vocabulary_size, hidden, padding_idx=PAD_ID)
            self.target_embedding = nn.Embedding(vocabulary_size, hidden, padding_idx=PAD_ID)
        self.encoder_embedding_norm = make_norm(config) if config.embedding_norm else nn.Identity()
        self.encoder_layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_encoder_layers))
        self.encoder_norm = make_norm(config) if config.final_norm else nn.Identity()
        self.decoder_embedding_norm = make_norm(config) if config.embedding_norm else nn.Identity()
        own_layers = [DecoderLayer(config) for _ in range(config.num_decoder_layers)]
        tied = config.tied_decoder_layers or range(config.num_decoder_layers)
        self.decoder_layers = nn.ModuleList(own_layers[own] for own in tied)
        self.decoder_norm = make_norm(config) if config.final_norm else nn.Identity()
        self.output = None if config.tied_output else nn.Linear(hidden, vocabulary_size, bias=False)
        self.output_bias = nn.Parameter(torch.zeros(vocabulary_size)) if config.output_bias else None
        self.dropout = nn.Dropout(config.dropout)
        self._add_positions(config)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        nn.init.normal_(self.embedding.weight, std=hidden**-0.5)
        if not config.shared_embedding:
            nn.init.normal_(self.target_embedding.weight, std=hidden**-0.5)

    def _add_positions(self, config: TransformerConfiguration) -> None:
        length, hidden = config.max_positions, config.hidden_size
        if config.positions == "sinusoidal":
            encodings = sinusoidal_positions(length + config.position_offset, hidden, config.sinusoids)
            self.register_buffer("position_encodings", encodings[config.position_offset :], persistent=False)
        elif config.positions == "learned":
            self.encoder_positions = nn.Parameter(torch.empty(length, hidden))
            self.decoder_positions = nn.Parameter(torch.empty(length, hidden))
        else:
            buckets = config.num_buckets, config.max_distance
            heads = config.encoder_num_heads or config.num_heads
            self.encoder_distances = RelativePositions(heads, *buckets, bidirectional=True)
            self.decoder_distances = RelativePositions(config.num_heads, *buckets, bidirectional=False)

    @property
    def source_vocabulary_size(self) -> int:
        return self.embedding.num_embeddings

    @property
    def attention_description(self) -> str:
        """Such as "multi-head, layer 2, mean of heads 0, 3 (counted from 0)"."""
        heads = self.config.alignment_heads or range(self.config.num_heads)
        named = f"head {heads[0]}" if len(heads) == 1 else f"mean of heads {', '.join(map(str, heads))}"
        return f"multi-head, layer {self.config.alignment_layer}, {named} (counted from 0)"

    @property
    def state_specs(self) -> tuple[StateSpec, ...]:
        heads = self.config.num_heads
        head_size = self.config.head_size or self.config.hidden_size // heads
        layers = range(self.config.num_decoder_layers)
        specs = []
        for layer in layers:
            specs.append(StateSpec(f"cross_keys_{layer}", "constant", ("batch", heads, head_size, "source_length")))
            specs.append(StateSpec(f"cross_values_{layer}", "constant", ("batch", heads, "source_length", head_size)))
        for layer in layers:
            if self.config.decoder_history == "ssru":
                specs.append(StateSpec(f"cell_{layer}", "carried", ("batch", self.config.hidden_size)))
            else:
                axes = ("batch", heads, "capacity", head_size)
                specs += [StateSpec(f"self_{part}_{layer}", "growing", axes) for part in ("keys", "values")]
        return tuple(specs)

    def encode(self, source_ids: Tensor, source_lengths: Tensor) -> States:
        memory, _ = self._memory(source_ids, source_lengths)
        states = {}
        for i, layer in enumerate(self.decoder_layers):
            states[f"cross_keys_{i}"], states[f"cross_values_{i}"] = layer.cross_attention.keys_and_values(memory)  # type: ignore[union-attr,operator]
            if self.config.decoder_history == "ssru":
                states[f"cell_{i}"] = torch.zeros_like(memory[:, 0])
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
        target_length, device = target_ids.shape[1], target_ids.device
        causal = masks.causal_mask(target_length, device)
        bias = self.decoder_distances.within(target_length, device) if self.config.positions == "relative" else None
        x = self.dropout(self._embed_target(target_ids, torch.arange(target_length, device=device)))
        for layer in self.decoder_layers:
            x = layer(x, causal, memory, visible, bias)
        return self._logits(x)

    def _advance(
        self, token_ids: Tensor, positions: Tensor, source_lengths: Tensor, states: States
    ) -> tuple[Tensor, list[Tensor], States]:
        """One position: x (batch, hidden), each layer's cross-attention weights (batch, heads, source_length), and
        every growing or carried state, new."""
        x = self._embed_target(token_ids, positions)
        visible = masks.source_mask(source_lengths, states["cross_keys_0"].shape[3])
        bias = None
        if self.config.positions == "relative":
            bias = self.decoder_distances.before(positions, states["self_keys_0"].shape[2])
        all_weights, new_states = [], States()
        for i, layer in enumerate(self.decoder_layers):
            x, weights, caches = layer.step(x, positions, visible, states, i, bias)  # type: ignore[operator]
            all_weights.append(weights)
            new_states |= caches
        return x, all_weights, new_states

    def _memory(self, source_ids: Tensor, source_lengths: Tensor) -> tuple[Tensor, Tensor]:
        source_length, device = source_ids.shape[1], source_ids.device
        visible = masks.source_mask(source_lengths, source_length)[:, None, None, :]
        bias = self.encoder_distances.within(source_length, device) if self.config.positions == "relative" else None
        x = self.embedding(source_ids) * self._embedding_scale
        if self.config.positions != "relative":
            x = x + self._positions("encoder")[:source_length]
        x = self.dropout(self.encoder_embedding_norm(x))
        for layer in self.encoder_layers:
            x = layer(x, visible, bias)
        return self.encoder_norm(x), visible

    def _embed_target(self, ids: Tensor, positions: Tensor) -> Tensor:
        x = self._target_embedding(ids) * self._embedding_scale
        if self.config.positions != "relative":
            x = x + self._target_positions(ids, positions)
        return self.decoder_embedding_norm(x)

    def _target_positions(self, ids: Tensor, positions: Tensor) -> Tensor:
        """(..., hidden); fairseq gives the padding token none, also where a target has it."""
        places, unplaced = self._positions("decoder")[positions], self.config.unplaced_id
        return places if unplaced is None else torch.where((ids == unplaced)[..., None], 0.0, places)

    def _positions(self, side: Literal["encoder", "decoder"]) -> Tensor:
        """(max_positions, hidden)."""
        table: Tensor = getattr(
            self, "position_encodings" if self.config.positions == "sinusoidal" else f"{side}_positions"
        )
        return table

    @property
    def _target_embedding(self) -> nn.Embedding:
        return self.embedding if self.config.shared_embedding else self.target_embedding

    @property
    def _embedding_scale(self) -> float:
        scale = self.config.embedding_scale
        return math.sqrt(self.config.hidden_size) if scale is None else scale

    def _logits(self, x: Tensor) -> Tensor:
        weight = self._target_embedding.weight if self.output is None else self.output.weight
        return F.linear(self.decoder_norm(x), weight, self.output_bias)
