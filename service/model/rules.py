"""What a target may continue with, whoever searches: rules over the candidates of a step.

A rule belongs to one target and sees its tokens one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from service.model.manifest import Manifest


class Rule(Protocol):
    """Narrows the choice of one target's next token."""

    def best(self, ids: Sequence[int]) -> int:
        """The rank of the best allowed candidate; ids are a step's candidates, best first."""

    def follow(self, token_id: int) -> None:
        """The target goes on with this token."""


class KeepMasks:
    """Every mask of the source stands in the target exactly once, and no other mask.

    Where the end of the sentence would win while masks are missing, a missing one is taken instead if the step offers
    one, and otherwise the best token that goes on. Only where every candidate is refused does the first one stand.
    """

    def __init__(self, masks: frozenset[int], missing: frozenset[int], end_id: int) -> None:
        """masks: the target ids of all masks; missing: of those that the source has."""
        self._masks = masks
        self._missing = set(missing)
        self._end_id = end_id

    def best(self, ids: Sequence[int]) -> int:
        allowed = [rank for rank, token in enumerate(ids) if token not in self._masks or token in self._missing]
        if not self._missing or not allowed or ids[allowed[0]] != self._end_id:
            return allowed[0] if allowed else 0
        going_on = allowed[1:]
        return next((rank for rank in going_on if ids[rank] in self._missing), going_on[0] if going_on else 0)

    def follow(self, token_id: int) -> None:
        self._missing.discard(token_id)


def make_rule(manifest: Manifest, source_ids: Sequence[int]) -> Rule | None:
    """The rule for the target of a source; None where every token is allowed."""
    masks = manifest.vocabulary.masks
    if not masks:
        return None
    present = set(source_ids)
    missing = frozenset(mask.target_id for mask in masks if mask.source_id in present)
    return KeepMasks(frozenset(mask.target_id for mask in masks), missing, manifest.vocabulary.end_id)


def choose(rule: Rule | None, ids: Sequence[int]) -> int:
    """The rank of the candidate that a target goes on with."""
    if rule is None:
        return 0
    rank = rule.best(ids)
    rule.follow(ids[rank])
    return rank
