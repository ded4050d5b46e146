"""Greedy translation of many sources through the rows that serve, without requests or clocks.

Verification, scoring and the replay of golden sentences use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.model.onnx_model import OnnxModel
from service.model.rules import allowed, mask_rules
from service.model.slots import Slots


@dataclass
class Target:
    """token_ids and log_probabilities of the tokens made, the end of the sentence included."""

    token_ids: list[int]
    log_probabilities: list[float]


def translate_greedily(
    model: OnnxModel, sources: Sequence[Sequence[int]], *, max_rows: int = 64, max_length: int | None = None
) -> list[Target]:
    """The most probable next token that the manifest allows until the sentence ends or has `max_length` tokens, in
    the order of sources.

    Each source ends in the end of the sentence. As soon as a target ends, the next source takes its row.
    """
    manifest = model.manifest
    limit = min(max_length or manifest.max_target_length, manifest.max_target_length)
    targets = [Target([], []) for _ in sources]
    rules = [mask_rules(manifest, source) for source in sources]
    slots = Slots(model, max_rows)
    waiting = list(range(len(sources)))[::-1]
    rows: list[int] = []
    while waiting or rows:
        joining = [waiting.pop() for _ in range(min(len(waiting), max_rows - len(rows)))]
        if joining:
            slots.join(slots.encode([sources[i] for i in joining]))
            rows += joining
        step = slots.step().rows()
        chosen = [allowed(row, rules[i], targets[i].token_ids, 1)[0] for row, i in zip(step, rows, strict=True)]
        slots.choose([token_id for token_id, _ in chosen])
        for row in reversed(range(len(rows))):
            target = targets[rows[row]]
            token_id, log_probability = chosen[row]
            target.token_ids.append(token_id)
            target.log_probabilities.append(log_probability)
            if target.token_ids[-1] == manifest.vocabulary.end_id or len(target.token_ids) == limit:
                slots.leave(row)
                rows[row] = rows[-1]
                rows.pop()
    return targets
