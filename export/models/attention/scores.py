"""How well each source position fits the decoder's state: one class for each score function of the literature.

A score knows neither which positions a step looks at (`spans`) nor what becomes of the scores (`choices`). In every
equation h_t is the decoder's state and h_s the encoder's state at source position s.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from export.errors import ConfigurationError


@dataclass(frozen=True)
class Sizes:
    """Sizes of h_t and of h_s, and how many source positions a score by location tells apart."""

    query: int
    memory: int
    num_locations: int


class Score(nn.Module, ABC):
    """Scores source positions for a decoder state.

    What does not depend on the step is computed once a sentence, by `keys`; `key_size` is its last axis, or None where
    the encoder's states are scored as they are.
    """

    key_size: int | None = None
    reads_previous_state = False
    """Whether h_t is the decoder's state before it has read the previous token (Bahdanau) or after (Luong)."""

    def __init__(self, sizes: Sizes) -> None:  # noqa: ARG002
        super().__init__()

    def keys(self, memory: Tensor) -> Tensor:
        """memory (batch, source_length, memory size) -> (batch, source_length, key_size); memory itself without one."""
        return memory

    @abstractmethod
    def forward(self, query: Tensor, keys: Tensor, locations: Tensor) -> Tensor:
        """query (batch, query size), keys (batch, num_positions, key_size or memory size), locations (batch,
        num_positions) int64, which source positions these are -> scores (batch, num_positions)."""

    @property
    def num_locations(self) -> int | None:
        """Longest source that can be scored; None where any length can."""
        return None


def inner_products(keys: Tensor, query: Tensor) -> Tensor:
    """keys (batch, num_positions, size), query (batch, size) -> (batch, num_positions)."""
    return torch.matmul(keys, query[:, :, None])[:, :, 0]


class Dot(Score):
    """score(h_t, h_s) = h_t^T h_s (Luong et al. 2015, equation 8, "dot"); both must have the same size."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        if sizes.query != sizes.memory:
            raise ConfigurationError(
                f"this score multiplies states of equal size: hidden_size is {sizes.query}, "
                f"twice encoder_hidden_size is {sizes.memory}"
            )

    def forward(self, query: Tensor, keys: Tensor, locations: Tensor) -> Tensor:  # noqa: ARG002
        return inner_products(keys, query)


class ScaledDot(Dot):
    """score(h_t, h_s) = h_t^T h_s / sqrt(size) (Vaswani et al. 2017, section 3.2.1)."""

    def forward(self, query: Tensor, keys: Tensor, locations: Tensor) -> Tensor:
        return super().forward(query / math.sqrt(query.shape[-1]), keys, locations)


class General(Score):
    """score(h_t, h_s) = h_t^T W_a h_s (Luong et al. 2015, equation 8, "general")."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.key_size = sizes.query
        self.key = nn.Linear(sizes.memory, sizes.query, bias=False)

    def keys(self, memory: Tensor) -> Tensor:
        return self.key(memory)

    def forward(self, query: Tensor, keys: Tensor, locations: Tensor) -> Tensor:  # noqa: ARG002
        return inner_products(keys, query)


class Concat(Score):
    """score(h_t, h_s) = v_a^T tanh(W_a [h_t; h_s]) (Luong et al. 2015, equation 8, "concat"), W_a in two parts."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.key_size = sizes.query
        self.key = nn.Linear(sizes.memory, sizes.query, bias=False)
        self.query = nn.Linear(sizes.query, sizes.query, bias=False)
        self.vector = nn.Parameter(torch.empty(sizes.query).uniform_(-1.0, 1.0) * sizes.query**-0.5)

    def keys(self, memory: Tensor) -> Tensor:
        return self.key(memory)

    def forward(self, query: Tensor, keys: Tensor, locations: Tensor) -> Tensor:  # noqa: ARG002
        return torch.matmul(torch.tanh(keys + self.query(query)[:, None]), self.vector[:, None])[:, :, 0]


class Additive(Concat):
    """e(s_(i-1), h_j) = v_a^T tanh(W_a s_(i-1) + U_a h_j) (Bahdanau et al. 2015, appendix A.1.2).

    As `Concat`, but with the decoder's state before the update; the context is what the update then reads.
    """

    reads_previous_state = True


class Location(Score):
    """a_t = softmax(W_a h_t) (Luong et al. 2015, equation 9): the state alone says where to look.

    W_a has a row for each source position, so that sources longer than `num_locations` cannot be scored.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.location = nn.Linear(sizes.query, sizes.num_locations, bias=False)

    @property
    def num_locations(self) -> int | None:
        return self.location.out_features

    def forward(self, query: Tensor, keys: Tensor, locations: Tensor) -> Tensor:
        padded = locations.clamp(max=self.location.out_features - 1)
        return self.location(query).gather(1, padded.expand(keys.shape[:2]))


SCORES: dict[str, type[Score]] = {
    "dot": Dot,
    "general": General,
    "concat": Concat,
    "additive": Additive,
    "scaled_dot": ScaledDot,
    "location": Location,
}
"""Every score by its name in a configuration. A new one is a class and a line here."""
