"""The rules that a request sets for its targets."""

from __future__ import annotations

from collections.abc import Sequence

from service.engine.request import Decoding
from service.model.row import Ranked
from service.model.rules import Rule


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


def rules_of(decoding: Decoding, *, end_id: int) -> tuple[Rule, ...]:
    """The rules of a request; none for one that leaves every choice free."""
    rules: list[Rule] = []
    if decoding.suppressed:
        rules.append(Suppress(decoding.suppressed))
    if decoding.no_repeat_ngram_size:
        rules.append(NoRepeatedNgram(decoding.no_repeat_ngram_size))
    if decoding.min_length:
        rules.append(MinLength(decoding.min_length, end_id))
    return tuple(rules)
