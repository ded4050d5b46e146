"""Models small enough to know everything about: with told logits, or with random weights. No search is here."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from export.configuration import RecurrentConfiguration, TransformerConfiguration
from export.models.build import build_model
from export.models.contract import States, StateSpec, StepOutput, TranslationModel
from export.models.control_tokens import BEGIN_ID, END_ID
from tests.reference.options import Ids

Rows = tuple[tuple[float, ...], ...]
VOCABULARY_SIZE = 8


class Scripted(TranslationModel):
    """Gives the logits that are told for a target so far, and at each position the attention told for it."""

    attention_description = "told"
    state_specs: tuple[StateSpec, ...] = ()

    def __init__(self, logits_after: Callable[[Ids], list[float]], attention: Rows = ()) -> None:
        super().__init__()
        self.logits_after, self.attention = logits_after, attention
        self.eval()

    def encode(self, source_ids: Tensor, source_lengths: Tensor) -> States:
        return {}

    def step(self, token_ids: Tensor, positions: Tensor, source_lengths: Tensor, states: States) -> StepOutput:
        """Its logits are zeros: what comes before is not known here."""
        return StepOutput(torch.zeros(1, 1), torch.tensor([self.attention[int(positions.item())]]), {})

    def forward(self, source_ids: Tensor, source_lengths: Tensor, target_ids: Tensor) -> Tensor:
        begin, *y = target_ids[0].tolist()
        assert begin == BEGIN_ID
        return torch.tensor([[self.logits_after(tuple(y[:length])) for length in range(len(y) + 1)]])


def follows(probabilities: dict[Ids, dict[int, float]], attention: Rows = ()) -> Scripted:
    """What may follow which target; after any other target it ends. Other tokens are as good as impossible."""

    def logits_after(y: Ids) -> list[float]:
        after = probabilities.get(y, {END_ID: 1.0})
        return [math.log(after.get(token, 1e-9)) for token in range(VOCABULARY_SIZE)]

    return Scripted(logits_after, attention)


def always(*logits: float) -> Scripted:
    """The same logits after every target."""
    return Scripted(lambda y: list(logits))


def random_model(
    kind: Literal["scripted", "transformer", "lstm"], vocabulary_size: int, seed: int = 0
) -> TranslationModel:
    """A model whose probabilities mean nothing."""
    torch.manual_seed(seed)
    match kind:
        case "scripted":
            table = torch.randn(1000, vocabulary_size).tolist()
            return Scripted(lambda y: table[hash(y) % 1000], ((0.6, 0.4, 0.0), (0.1, 0.9, 0.0), (0.5, 0.5, 0.0)))
        case "transformer":
            sizes = {"hidden_size": 8, "feed_forward_size": 8, "num_heads": 2}
            layers = {"num_encoder_layers": 1, "num_decoder_layers": 1, "alignment_layer": 0}
            return build_model(
                TransformerConfiguration(family="transformer", **sizes, **layers), vocabulary_size
            ).eval()
        case "lstm":
            config = RecurrentConfiguration(family="recurrent", hidden_size=8, encoder_hidden_size=4)
            return build_model(config, vocabulary_size).eval()
