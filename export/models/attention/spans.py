"""Which source positions a decoder step looks at: all of them, or a window (Luong et al. 2015, section 3.2).

A local span gathers its window before anything is scored, so that a step costs the same however long the source is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from export.models import masks


@dataclass(frozen=True)
class View:
    """What a step sees of the source.

    locations: source positions, (batch, num_positions) or (1, num_positions); visible (batch, num_positions): which of
    them lie in the sentence; prior: what is added to the scores, (batch, num_positions), or None.
    """

    locations: Tensor
    visible: Tensor
    prior: Tensor | None = None


class Span(nn.Module, ABC):
    """Chooses the view of each step, and takes states along the source axis into it and back."""

    @abstractmethod
    def view(self, query: Tensor, positions: Tensor, source_lengths: Tensor, source_length: int) -> View:
        """query (batch, query size): the decoder's state; positions (batch,): tokens made so far."""

    def take(self, states: Tensor, view: View) -> Tensor:
        """states (batch, source_length, ...) -> (batch, num_positions, ...)."""
        return take(states, view.locations)

    def spread(self, weights: Tensor, view: View, source_length: int) -> Tensor:
        """weights (batch, num_positions), zero where nothing is visible -> (batch, source_length), zero elsewhere."""
        everywhere = weights.new_zeros(weights.shape[0], source_length)
        return everywhere.scatter_add(1, view.locations, weights)


class Global(Span):
    """Every source position (Luong et al. 2015, section 3.1)."""

    def __init__(self, query_size: int, window: int) -> None:  # noqa: ARG002
        super().__init__()

    def view(self, query: Tensor, positions: Tensor, source_lengths: Tensor, source_length: int) -> View:  # noqa: ARG002
        locations = torch.arange(source_length, device=query.device)[None, :]
        return View(locations, masks.source_mask(source_lengths, source_length))

    def take(self, states: Tensor, view: View) -> Tensor:  # noqa: ARG002
        return states

    def spread(self, weights: Tensor, view: View, source_length: int) -> Tensor:  # noqa: ARG002
        return weights


class LocalMonotonic(Span):
    """The window [p_t - D, p_t + D] around p_t = t ("local-m", Luong et al. 2015, section 3.2).

    A target that grows longer than its source keeps looking at the source's last positions.
    """

    def __init__(self, query_size: int, window: int) -> None:  # noqa: ARG002
        super().__init__()
        self.window = window

    def view(self, query: Tensor, positions: Tensor, source_lengths: Tensor, source_length: int) -> View:  # noqa: ARG002
        return window_view(torch.minimum(positions, source_lengths - 1), self.window, source_lengths)


class LocalPredictive(Span):
    """The window around a predicted centre, weighed by a Gaussian ("local-p", Luong et al. 2015, equations 9 and 10).

    p_t = (S - 1) sigmoid(v_p^T tanh(W_p h_t)), positions counted from 0; the weights are multiplied by
    exp(-(s - p_t)^2 / (2 sigma^2)) with sigma = D / 2. The paper multiplies after the softmax; here the exponent is
    added to the scores, which is the same but for a factor that makes the weights sum to 1.
    """

    def __init__(self, query_size: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.inner = nn.Linear(query_size, query_size, bias=False)
        self.outer = nn.Linear(query_size, 1, bias=False)

    def view(self, query: Tensor, positions: Tensor, source_lengths: Tensor, source_length: int) -> View:  # noqa: ARG002
        share = torch.sigmoid(self.outer(torch.tanh(self.inner(query)))[:, 0])
        centre = share * (source_lengths - 1)
        view = window_view(centre.round().long(), self.window, source_lengths)
        distance = view.locations - centre[:, None]
        return View(view.locations, view.visible, -2.0 * (distance / self.window) ** 2)


def window_view(centres: Tensor, window: int, source_lengths: Tensor) -> View:
    """The 2 x window + 1 positions around centres (batch,); those outside of the sentence are not visible."""
    offsets = torch.arange(-window, window + 1, device=centres.device)
    wanted = centres[:, None] + offsets[None, :]
    last = source_lengths[:, None] - 1
    locations = torch.minimum(wanted.clamp(min=0), last)
    return View(locations, wanted == locations)


def take(states: Tensor, locations: Tensor) -> Tensor:
    """states (batch, source_length, ...) at locations (batch, num_positions) -> (batch, num_positions, ...)."""
    batch, source_length = states.shape[:2]
    starts = torch.arange(batch, device=states.device)[:, None] * source_length
    rows = states.reshape(-1, *states.shape[2:]).index_select(0, (starts + locations).flatten())
    return rows.reshape(batch, -1, *states.shape[2:])


SPANS: dict[str, type[Global] | type[LocalMonotonic] | type[LocalPredictive]] = {
    "global": Global,
    "local_m": LocalMonotonic,
    "local_p": LocalPredictive,
}
