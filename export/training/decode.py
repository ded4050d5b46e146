"""Greedy decoding of many sentences with a model's own `encode` and `step`: validation while training."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from export.models.contract import TranslationModel
from export.models.control_tokens import BEGIN_ID, END_ID, PAD_ID
from export.training.data import pad
from service.model.row import Row
from service.model.rules import Rule, allowed


@torch.inference_mode()
def greedy(
    model: TranslationModel,
    sources: Sequence[Sequence[int]],
    *,
    batch_size: int = 128,
    max_length: int = 100,
    rules: Sequence[Sequence[Rule]] | None = None,
) -> list[list[int]]:
    """The most probable next token that a target's rules allow, at most `max_length` times; ids without begin and end,
    in order."""
    device = next(model.parameters()).device
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    results: list[list[int]] = [[] for _ in sources]
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        source_ids = pad([sources[i] for i in rows]).to(device)
        source_lengths = torch.tensor([len(sources[i]) for i in rows], device=device)
        limit = min(max_length, 2 * source_ids.shape[1] + 10)
        states = model.initial_states(source_ids, source_lengths, limit)
        tokens = torch.full((len(rows),), BEGIN_ID, device=device)
        finished = torch.zeros(len(rows), dtype=torch.bool, device=device)
        made: list[torch.Tensor] = []
        for position in range(limit):
            output = model.step(tokens, torch.full_like(tokens, position), source_lengths, states)
            states = states | output.states
            tokens = output.logits.argmax(-1)
            for place, i in enumerate(rows):
                if rules is not None and rules[i] and not finished[place]:
                    best = Row([int(tokens[place])], [0.0], output.logits[place].numpy())
                    target = [int(ids[place]) for ids in made]
                    tokens[place] = allowed(best, rules[i], target, 1)[0][0]
            tokens = tokens.masked_fill(finished, PAD_ID)
            finished |= tokens == END_ID
            made.append(tokens)
            if finished.all():
                break
        for row, ids in zip(rows, torch.stack(made, 1).tolist(), strict=True):
            end = ids.index(END_ID) if END_ID in ids else len(ids)
            results[row] = ids[:end]
    return results
