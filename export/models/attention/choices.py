"""What becomes of the scores: weights on all positions that are seen, or one position (Xu et al. 2015, section 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Soft(nn.Module):
    """a_t = softmax(scores): the expected context (Xu et al. 2015, section 4.2; Bahdanau et al. 2015)."""

    draws = False

    def forward(self, scores: Tensor, noise: Tensor | None) -> Tensor:  # noqa: ARG002
        """scores (batch, num_positions), minus infinity where nothing is visible -> weights, which sum to 1."""
        return scores.softmax(-1)


class Hard(nn.Module):
    """One position a step, drawn from softmax(scores) (Xu et al. 2015, section 4.1).

    argmax(scores + g) with g_s = -log(-log(u_s)) draws from softmax(scores) (Gumbel 1954); without noise it is the most
    probable position. Training draws, and lets gradients pass as through softmax(scores + g): the straight-through
    estimator (Jang et al. 2017, section 2.2).
    """

    draws = True

    def forward(self, scores: Tensor, noise: Tensor | None) -> Tensor:
        """noise (batch, num_positions): standard Gumbel or zero; without it training draws by itself."""
        if noise is None and self.training:
            noise = -torch.empty_like(scores).exponential_().log()
        drawn = scores if noise is None else scores + noise
        numbers = torch.arange(scores.shape[1], device=scores.device)
        one_hot = (numbers[None, :] == drawn.argmax(-1)[:, None]).to(scores.dtype)
        if not self.training:
            return one_hot
        smooth = drawn.softmax(-1)
        return one_hot + smooth - smooth.detach()


CHOICES: dict[str, type[Soft] | type[Hard]] = {"soft": Soft, "hard": Hard}
