"""What a target may continue with, whoever searches. Rules take tokens out of a ranking and change no probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from service.model.manifest import Manifest
from service.model.row import Ranked, Row


class Rule(Protocol):
    """Narrows the choice of a target's next token."""

    def select(self, target_ids: Sequence[int], ranked: Ranked) -> Ranked:
        """Those tokens of a ranking that may follow target_ids, in the order in which they are to be taken."""


class KeepMasks:
    """Every mask of the source stands in the target exactly once, and no other mask.

    Where the end of the sentence would win while masks are missing, a missing one is taken instead.
    """

    def __init__(self, masks: frozenset[int], present: frozenset[int], end_id: int) -> None:
        """masks: the target ids of all masks; present: of those that the source has."""
        self._masks = masks
        self._present = present
        self._end_id = end_id

    def select(self, target_ids: Sequence[int], ranked: Ranked) -> Ranked:
        missing = self._present.difference(target_ids)
        allowed = [one for one in ranked if one[0] not in self._masks or one[0] in missing]
        if not missing or not allowed or allowed[0][0] != self._end_id:
            return [one for one in allowed if not missing or one[0] != self._end_id]
        return [one for one in allowed if one[0] in missing]


def mask_rules(manifest: Manifest, source_ids: Sequence[int]) -> tuple[Rule, ...]:
    """The rules that the manifest sets for the target of a source."""
    masks = manifest.vocabulary.masks
    if not masks:
        return ()
    sources = set(source_ids)
    present = frozenset(mask.target_id for mask in masks if mask.source_id in sources)
    return (KeepMasks(frozenset(mask.target_id for mask in masks), present, manifest.vocabulary.end_id),)


def allowed(row: Row, rules: Sequence[Rule], target_ids: Sequence[int], count: int) -> Ranked:
    """The best `count` tokens that may follow target_ids, or all there are, from the whole vocabulary if need be."""
    if not rules:
        return row.best(count)
    considered = max(count, len(row.ids))
    while True:
        ranked = row.best(considered)
        selected = ranked
        for rule in rules:
            selected = rule.select(target_ids, selected)
        if len(selected) >= count or len(ranked) < considered:
            return selected[:count]
        considered *= 16
