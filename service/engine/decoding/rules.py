"""The rules that a request sets for its targets."""

from __future__ import annotations

from service.engine.request import Decoding
from service.model.rules import ForcedEnd, MinLength, NoRepeatedNgram, Rule, Suppress


def rules_of(decoding: Decoding, *, end_id: int) -> tuple[Rule, ...]:
    """The rules of a request; none for one that leaves every choice free."""
    rules: list[Rule] = []
    if decoding.suppressed:
        rules.append(Suppress(decoding.suppressed))
    if decoding.no_repeat_ngram_size:
        rules.append(NoRepeatedNgram(decoding.no_repeat_ngram_size))
    if decoding.min_length:
        rules.append(MinLength(decoding.min_length, end_id))
    if decoding.forced_end:
        rules.append(ForcedEnd(decoding.max_length, end_id))
    return tuple(rules)
