"""The two graphs of a bundle as modules: each `forward` IS the signature of an ONNX graph.

They know the names and axes of `service.model.manifest`; the models know neither.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from export.models.contract import StateSpec, TranslationModel
from export.models.operators import best_tokens

AxisNames = dict[int, str]


class EncoderGraph(nn.Module):
    """source_ids (batch, source_length), source_lengths (batch,) -> every constant and carried state."""

    input_axes: tuple[AxisNames, ...] = ({0: "batch", 1: "source_length"}, {0: "batch"})
    input_names = ("source_ids", "source_lengths")

    def __init__(self, model: TranslationModel) -> None:
        super().__init__()
        self.model = model
        self._states = tuple(spec for spec in model.state_specs if spec.kind in ("constant", "carried"))

    @property
    def output_names(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self._states)

    def example_inputs(self) -> tuple[Tensor, ...]:
        return torch.full((2, 32), 5), torch.tensor([32, 7])

    def forward(self, source_ids: Tensor, source_lengths: Tensor) -> tuple[Tensor, ...]:
        states = self.model.encode(source_ids, source_lengths)
        return tuple(states[spec.name] for spec in self._states)


class DecoderStepGraph(nn.Module):
    """token_ids, positions, source_lengths (batch,) and every state -> the best `num_candidates` token ids and their
    log-probabilities (batch, num_candidates), best first; logits (batch, vocabulary); attention (batch, source_length)
    of a model that has any; every carried and growing state, new, as `new_NAME`."""

    def __init__(self, model: TranslationModel, num_candidates: int, capacity: int) -> None:
        super().__init__()
        self.model = model
        self.num_candidates = num_candidates
        self._capacity = capacity
        self._states = model.state_specs
        self._new_states = tuple(spec for spec in model.state_specs if spec.kind in ("carried", "growing"))

    @property
    def input_names(self) -> tuple[str, ...]:
        return ("token_ids", "positions", "source_lengths", *(spec.name for spec in self._states))

    @property
    def input_axes(self) -> tuple[AxisNames, ...]:
        return ({0: "batch"},) * 3 + tuple(_axis_names(spec) for spec in self._states)

    @property
    def output_names(self) -> tuple[str, ...]:
        attention = () if self.model.attention_description is None else ("attention",)
        new = (f"new_{spec.name}" for spec in self._new_states)
        return ("candidate_ids", "candidate_log_probabilities", "logits", *attention, *new)

    def example_inputs(self) -> tuple[Tensor, ...]:
        source_ids, source_lengths = EncoderGraph(self.model).example_inputs()
        states = self.model.initial_states(source_ids, source_lengths, self._capacity)
        tokens = torch.full_like(source_lengths, 5)
        return (tokens, torch.tensor([3, 0]), source_lengths, *(states[spec.name] for spec in self._states))

    def forward(
        self, token_ids: Tensor, positions: Tensor, source_lengths: Tensor, *states: Tensor
    ) -> tuple[Tensor, ...]:
        named = dict(zip((spec.name for spec in self._states), states, strict=True))
        output = self.model.step(token_ids, positions, source_lengths, named)
        ids = best_tokens(output.logits, self.num_candidates)
        log_probabilities = output.logits.log_softmax(-1).gather(-1, ids)
        attention = () if output.attention is None else (output.attention,)
        return (
            ids,
            log_probabilities,
            output.logits,
            *attention,
            *(output.states[spec.name] for spec in self._new_states),
        )


def _axis_names(spec: StateSpec) -> AxisNames:
    return {i: axis for i, axis in enumerate(spec.axes) if isinstance(axis, str)}
