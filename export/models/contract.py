"""What every model family offers: encode a source once, then advance all targets by one token at a time.

This module does not know any family, nor how a model is trained or served.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

StateKind = Literal["constant", "carried", "growing", "noise"]
States = dict[str, Tensor]


@dataclass(frozen=True)
class StateSpec:
    """One named decoder state, with its axes in words.

    kind: "constant" is written once by `encode`, "carried" is replaced by every step, "growing" gains one
    entry along its `capacity` axis at `positions[row]` in every step, "noise" is given anew before every step: zeros,
    or standard Gumbel noise where a request wants its choices drawn.
    axes: the first is always "batch"; a whole number is a fixed size; "source_length" and "capacity" vary.
    """

    name: str
    kind: StateKind
    axes: tuple[str | int, ...]


@dataclass(frozen=True)
class StepOutput:
    """logits (batch, vocabulary), attention (batch, source_length) or None from a model without any, and every carried
    and growing state, new."""

    logits: Tensor
    attention: Tensor | None
    states: States


class TranslationModel(nn.Module, ABC):
    """An encoder-decoder whose decoding is a pure function of tensors."""

    vocabulary_size: int

    @property
    @abstractmethod
    def attention_description(self) -> str | None:
        """How the target attends to the source, for people; None where the model has no attention."""

    @property
    def longest_source(self) -> int | None:
        """Most source tokens, where the weights set a limit of their own."""
        return None

    @property
    @abstractmethod
    def state_specs(self) -> tuple[StateSpec, ...]:
        """The states of a sequence, in the order in which graphs list them."""

    @abstractmethod
    def encode(self, source_ids: Tensor, source_lengths: Tensor) -> States:
        """Every constant and carried state at the start of a target.

        source_ids (batch, source_length) int64, anything beyond a row's length is ignored;
        source_lengths (batch,) int64, each at least 1.
        """

    @abstractmethod
    def step(self, token_ids: Tensor, positions: Tensor, source_lengths: Tensor, states: States) -> StepOutput:
        """Advance each row by one token.

        token_ids (batch,) int64, the previous token (`BEGIN_ID` at first); positions (batch,) int64, how many
        tokens each row has made; source_lengths (batch,) int64. The inputs are not modified.
        """

    @abstractmethod
    def forward(self, source_ids: Tensor, source_lengths: Tensor, target_ids: Tensor) -> Tensor:
        """Teacher forcing: logits (batch, target_length, vocabulary) for the token after each of
        target_ids (batch, target_length), equal to what `step` would give one token at a time."""

    def initial_states(self, source_ids: Tensor, source_lengths: Tensor, capacity: int) -> States:
        """`encode` plus growing states and noise filled with zeros, with room for `capacity` tokens."""
        states = self.encode(source_ids, source_lengths)
        batch, source_length = source_ids.shape
        for spec in self.state_specs:
            if spec.kind in ("growing", "noise"):
                sizes = {"batch": batch, "source_length": source_length, "capacity": capacity}
                shape = [sizes[axis] if isinstance(axis, str) else axis for axis in spec.axes]
                states[spec.name] = next(self.parameters()).new_zeros(shape)
        return states
