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


class Suppress:
    """Some tokens never come."""

    def __init__(self, token_ids: frozenset[int]) -> None:
        self._token_ids = token_ids

    def select(self, target_ids: Sequence[int], ranked: Ranked) -> Ranked:  # noqa: ARG002
        return [one for one in ranked if one[0] not in self._token_ids]


class MinLength:
    """The sentence does not end before it has a number of tokens."""

    def __init__(self, min_length: int, end_id: int) -> None:
        self._min_length = min_length
        self._end_id = end_id

    def select(self, target_ids: Sequence[int], ranked: Ranked) -> Ranked:
        if len(target_ids) >= self._min_length:
            return ranked
        return [one for one in ranked if one[0] != self._end_id]


class NoRepeatedNgram:
    """No sequence of `size` tokens comes twice (Paulus et al. 2018, section 2.5)."""

    def __init__(self, size: int) -> None:
        self._size = size

    def select(self, target_ids: Sequence[int], ranked: Ranked) -> Ranked:
        size = self._size
        begun = tuple(target_ids[len(target_ids) - size + 1 :]) if size > 1 else ()
        if len(begun) < size - 1:
            return ranked
        closing = {
            target_ids[i + size - 1]
            for i in range(len(target_ids) - size + 1)
            if tuple(target_ids[i : i + size - 1]) == begun
        }
        return [one for one in ranked if one[0] not in closing]


class ForcedEnd:
    """The last token that a target has room for is the end of the sentence."""

    def __init__(self, max_length: int, end_id: int) -> None:
        self._max_length = max_length
        self._end_id = end_id

    def select(self, target_ids: Sequence[int], ranked: Ranked) -> Ranked:
        if len(target_ids) < self._max_length - 1:
            return ranked
        return [one for one in ranked if one[0] == self._end_id]


def model_rules(manifest: Manifest, source_ids: Sequence[int]) -> tuple[Rule, ...]:
    """The rules that the manifest sets for the target of a source, however long it may become."""
    search, end_id = manifest.search, manifest.vocabulary.end_id
    rules: list[Rule] = []
    if search.suppressed_ids:
        rules.append(Suppress(frozenset(search.suppressed_ids)))
    if search.no_repeat_ngram_size:
        rules.append(NoRepeatedNgram(search.no_repeat_ngram_size))
    if search.min_length:
        rules.append(MinLength(search.min_length, end_id))
    return (*rules, *mask_rules(manifest, source_ids))


def mask_rules(manifest: Manifest, source_ids: Sequence[int]) -> tuple[Rule, ...]:
    """What keeps the masks of a source."""
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
