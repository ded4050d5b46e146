"""Greedy translation of many sources through the rows that serve, without requests or clocks.

Verification, scoring and the replay of golden sentences use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.model.candidates import Candidates
from service.model.errors import ContradictionError, NotFiniteError
from service.model.manifest import Manifest
from service.model.onnx_model import OnnxModel
from service.model.row import Row
from service.model.rules import ForcedEnd, Rule, allowed, model_rules
from service.model.slots import Slots


@dataclass
class Target:
    """token_ids and log_probabilities of the tokens made, the end of the sentence included."""

    token_ids: list[int]
    log_probabilities: list[float]


def translate_greedily(
    model: OnnxModel,
    sources: Sequence[Sequence[int]],
    *,
    prefixes: Sequence[Sequence[int]] | None = None,
    max_rows: int = 64,
    max_length: int | None = None,
) -> list[Target]:
    """The most probable next token that the manifest allows until the sentence ends or has `max_length` tokens, or as
    many as the manifest has it, in the order of sources.

    Each source has what stands around every text, and each target begins with its prefix, where there are any. As soon
    as a target ends, the next source takes its row.

    Raises RowError where a step's results are no numbers, or contradict each other.
    """
    manifest = model.manifest
    most = manifest.max_target_length
    limits = [min(max_length or manifest.longest_target(len(source)), most) for source in sources]
    targets = [Target([], []) for _ in sources]
    rules = [_rules(manifest, source, limit) for source, limit in zip(sources, limits, strict=True)]
    forced = prefixes or [()] * len(sources)
    slots = Slots(model, max_rows)
    waiting = list(range(len(sources)))[::-1]
    rows: list[int] = []
    while waiting or rows:
        joining = [waiting.pop() for _ in range(min(len(waiting), max_rows - len(rows)))]
        if joining:
            slots.join(slots.encode([sources[i] for i in joining]))
            rows += joining
        candidates = slots.step()
        check_results(candidates)
        step = candidates.rows()
        chosen = [choose(row, rules[i], targets[i].token_ids, forced[i]) for row, i in zip(step, rows, strict=True)]
        slots.choose([token_id for token_id, _ in chosen])
        for row in reversed(range(len(rows))):
            target = targets[rows[row]]
            token_id, log_probability = chosen[row]
            target.token_ids.append(token_id)
            target.log_probabilities.append(log_probability)
            if target.token_ids[-1] == manifest.vocabulary.end_id or len(target.token_ids) == limits[rows[row]]:
                slots.leave(row)
                rows[row] = rows[-1]
                rows.pop()
    return targets


def check_results(candidates: Candidates) -> None:
    """Raises RowError where a step's results are no numbers, or its logits other ones than its candidates'."""
    for error in candidates.bad_rows(with_attention=True).values():
        raise error
    logits = candidates.logits
    if not (logits < np.inf).all():
        raise NotFiniteError("the graph makes a logit that is no number")
    if (logits[np.arange(len(logits)), candidates.ids[:, 0]] < logits.max(axis=1)).any():
        raise ContradictionError("the graph's best candidate has not the greatest logit")


def _rules(manifest: Manifest, source_ids: Sequence[int], limit: int) -> tuple[Rule, ...]:
    forced = (ForcedEnd(limit, manifest.vocabulary.end_id),) if manifest.search.forced_end else ()
    return (*model_rules(manifest, source_ids), *forced)


def choose(row: Row, rules: Sequence[Rule], target_ids: Sequence[int], prefix: Sequence[int]) -> tuple[int, float]:
    """The token that a target goes on with, and its log-probability: what the prefix forces, or the best that rules
    leave."""
    if len(target_ids) < len(prefix):
        forced = prefix[len(target_ids)]
        return forced, row.log_probability(forced)
    return allowed(row, rules, target_ids, 1)[0]
