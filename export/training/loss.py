"""Cross-entropy with label smoothing (Szegedy et al. 2016, section 7), in one pass over the logits.

It equals torch's `cross_entropy`, whose backward pass makes three tensors of the size of the logits, which a
small model on a CPU feels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from export.models.control_tokens import PAD_ID


class _SmoothedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        log_probs = logits.log_softmax(-1)
        counted = (targets != PAD_ID).to(logits.dtype)
        wanted = log_probs.gather(1, targets[:, None])[:, 0]
        losses = -(1.0 - smoothing) * wanted
        if smoothing:
            losses = losses - smoothing * log_probs.mean(-1)
        num_tokens = counted.sum()
        context.save_for_backward(log_probs, targets, counted / num_tokens)
        context.smoothing = smoothing
        return (losses * counted).sum() / num_tokens

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        log_probs, targets, weights = context.saved_tensors
        gradient = log_probs.exp_()
        if context.smoothing:
            gradient.sub_(context.smoothing / gradient.shape[1])
        gradient.scatter_add_(1, targets[:, None], gradient.new_full((len(targets), 1), context.smoothing - 1.0))
        return gradient.mul_((weights * gradients[0])[:, None]), None, None


def smoothed_cross_entropy(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """logits (tokens, vocabulary), targets (tokens,) with `PAD_ID` where nothing counts -> mean nats a token.

    Its gradient may be taken once.
    """
    loss: Tensor = _SmoothedCrossEntropy.apply(logits, targets, smoothing)  # type: ignore[no-untyped-call]
    return loss
