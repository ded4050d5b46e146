"""Attention of a recurrent decoder: a score, a span and a choice, each one small module.

Soft attention weighs all positions that it sees, hard attention picks one; a global span sees the whole source, a local
one a window. The model around it is not known here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from export.configuration import AttentionConfiguration
from export.errors import ConfigurationError
from export.models import masks
from export.models.attention.choices import CHOICES
from export.models.attention.scores import SCORES, Sizes
from export.models.attention.spans import SPANS
from export.models.contract import States, StateSpec

MEMORY, KEYS, NOISE = "memory", "keys", "attention_noise"


class Attention(nn.Module):
    """c_t = sum_s a_t(s) h_s, with weights a_t from the decoder's state.

    It names the states that it needs: the encoder's states, keys where its score has some, noise where it draws.
    """

    def __init__(self, config: AttentionConfiguration, query_size: int, memory_size: int) -> None:
        """Raises ConfigurationError for a score that is not registered or sizes that it cannot take."""
        super().__init__()
        if config.score not in SCORES:
            raise ConfigurationError(f"there is no score {config.score!r}; there are {', '.join(SCORES)}")
        self.config = config
        self.memory_size = memory_size
        self.score = SCORES[config.score](Sizes(query_size, memory_size, config.num_locations))
        self.span = SPANS[config.span](query_size, config.window)
        self.choice = CHOICES[config.choice]()

    @property
    def reads_previous_state(self) -> bool:
        return self.score.reads_previous_state

    @property
    def description(self) -> str:
        """Such as "general, local_p 10, hard"."""
        window = "" if self.config.span == "global" else f" {self.config.window}"
        return f"{self.config.score}, {self.config.span}{window}, {self.config.choice}"

    @property
    def state_specs(self) -> tuple[StateSpec, ...]:
        specs = [StateSpec(MEMORY, "constant", ("batch", "source_length", self.memory_size))]
        if self.score.key_size is not None:
            specs.append(StateSpec(KEYS, "constant", ("batch", "source_length", self.score.key_size)))
        if self.choice.draws:
            specs.append(StateSpec(NOISE, "noise", ("batch", "source_length")))
        return tuple(specs)

    def encode(self, memory: Tensor) -> States:
        """The constant states of memory (batch, source_length, memory_size)."""
        keys = {} if self.score.key_size is None else {KEYS: self.score.keys(memory)}
        return {MEMORY: memory} | keys

    def forward(
        self, query: Tensor, positions: Tensor, source_lengths: Tensor, states: States
    ) -> tuple[Tensor, Tensor]:
        """query (batch, query_size), positions and source_lengths (batch,) -> context (batch, memory_size) and weights
        (batch, source_length). Without noise among the states, a choice that draws draws by itself in
        training, and else takes the most probable position."""
        source_length = states[MEMORY].shape[1]
        view = self.span.view(query, positions, source_lengths, source_length)
        memory = self.span.take(states[MEMORY], view)
        keys = memory if self.score.key_size is None else self.span.take(states[KEYS], view)
        scores = self.score(query, keys, view.locations)
        if view.prior is not None:
            scores = scores + view.prior
        noise = self.span.take(states[NOISE], view) if NOISE in states else None
        weights = self.choice(masks.hide(scores, view.visible), noise)
        context = torch.matmul(weights[:, None], memory)[:, 0]
        return context, self.span.spread(weights, view, source_length)
