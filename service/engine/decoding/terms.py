"""Phrases that a target must hold: how far a target has them, and beam search that makes room for all of them.

Disjunctive positive constraints (Li et al. 2020) under dynamic beam allocation (Post and Vilar 2018).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.engine.decoding.beam import BeamSearch, Candidate, Live
from service.engine.decoding.continuation import Continuation, Target
from service.engine.decoding.search import StepRow
from service.engine.request import Hypothesis, Phrases, Term
from service.model.row import Ranked


@dataclass(frozen=True)
class Place:
    """Where a term stands in a target: its phrase's number and the tokens from start to before end."""

    phrase: int
    start: int
    end: int


def find(target_ids: Sequence[int], phrases: Phrases) -> Place | None:
    """The first place where one of the phrases stands."""
    for end in range(1, len(target_ids) + 1):
        for number, phrase in enumerate(phrases):
            start = end - len(phrase)
            if start >= 0 and tuple(target_ids[start:end]) == phrase:
                return Place(number, start, end)
    return None


def begun(target_ids: Sequence[int], phrase: Sequence[int]) -> int:
    """How many of a phrase's first tokens end the target, not all of them."""
    for length in range(min(len(phrase) - 1, len(target_ids)), 0, -1):
        if tuple(target_ids[-length:]) == tuple(phrase[:length]):
            return length
    return 0


def progress(target_ids: Sequence[int], terms: Sequence[Term]) -> int:
    """Tokens of terms that a target holds: all of each that it has, and what has begun of the others."""
    return sum(
        min(map(len, term.phrases))
        if find(target_ids, term.phrases)
        else max(begun(target_ids, phrase) for phrase in term.phrases)
        for term in terms
    )


def following(target_ids: Sequence[int], terms: Sequence[Term]) -> set[int]:
    """The tokens that would begin or continue a phrase of a term that is missing."""
    missing = [term for term in terms if find(target_ids, term.phrases) is None]
    return {phrase[begun(target_ids, phrase)] for term in missing for phrase in term.phrases}


def attends(attention: Sequence[float], place: tuple[int, int]) -> bool:
    """Whether a step attends most to a place of the source."""
    return bool(attention) and place[0] <= max(range(len(attention)), key=attention.__getitem__) < place[1]


def is_due(term: Term, target_ids: Sequence[int], attention: Sequence[float], *, would_end: bool) -> bool:
    """Whether a missing term may begin or go on here: anywhere, or, of one that takes a place of the source, where the
    step attends to that place or the sentence would end otherwise; and wherever it has begun."""
    if term.source is None or not attention or would_end or attends(attention, term.source):
        return True
    return any(begun(target_ids, phrase) for phrase in term.phrases)


def is_past(term: Term, target: Target, attention: Sequence[float]) -> bool:
    """Whether a target has something else where a missing term of the source should have come."""
    if term.source is None or attends(attention, term.source):
        return False
    target_ids = _ids(target)
    if find(target_ids, term.phrases) or any(begun(target_ids, phrase) for phrase in term.phrases):
        return False
    return any(attends(token.attention, term.source) for token in target)


class HoldTerms:
    """The sentence does not end while a term is missing."""

    def __init__(self, terms: Sequence[Term], end_id: int) -> None:
        self._terms = terms
        self._end_id = end_id

    def select(self, target_ids: Sequence[int], ranked: Ranked) -> Ranked:
        if all(find(target_ids, term.phrases) for term in self._terms):
            return ranked
        return [one for one in ranked if one[0] != self._end_id]


class ConstrainedBeamSearch(BeamSearch):
    """Beam search whose candidates include what leads to missing terms, and whose places are shared out by progress."""

    def __init__(self, continuation: Continuation) -> None:
        super().__init__(continuation)
        self._terms = continuation.decoding.terms

    def candidates(self, live: Sequence[Live], rows: Sequence[StepRow]) -> list[Candidate]:
        """The best ones of all, those that lead on to a missing term, and the best of each hypothesis: first those that
        the banks have places for. Hypotheses that are past a term's place are dropped while there are others."""
        hopeful = [
            parent
            for parent, (one, step) in enumerate(zip(live, rows, strict=True))
            if not any(is_past(term, one.target, step.attention) for term in self._terms)
        ]
        parents = hopeful or range(len(live))
        best = self.best(parents, live, rows)
        known = {(one.parent, one.token_id) for one in best}
        for parent in parents:
            one, step = live[parent], rows[parent]
            target_ids = _ids(one.target)
            (first, _), *_ = self._continuation.best(one.target, step.row, 1)
            would_end = step.row.ids[0] == self._continuation.end_id
            due = [term for term in self._terms if is_due(term, target_ids, step.attention, would_end=would_end)]
            for token_id in sorted({first} | following(target_ids, due)):
                if (parent, token_id) not in known:
                    for _, value in self._continuation.only(one.target, step.row, token_id):
                        best.append(Candidate(parent, token_id, value, one.log_probability + value))
        best.sort(key=lambda one: (-one.total, one.parent, one.token_id))
        banks = [progress([*_ids(live[one.parent].target), one.token_id], self._terms) for one in best]
        left = share_out(Counter(banks), self._decoding.beam_size)
        placed: list[Candidate] = []
        others: list[Candidate] = []
        for candidate, bank in zip(best, banks, strict=True):
            (placed if left[bank] > 0 else others).append(candidate)
            left[bank] -= 1
        return placed + others

    def rank(self, ended: Hypothesis) -> tuple[float, ...]:
        """Hypotheses that were cut off before they had every term come last."""
        target_ids = _ids(ended.tokens)
        missing = sum(find(target_ids, term.phrases) is None for term in self._terms)
        return (missing, -ended.score)


def share_out(sizes: Mapping[int, int], num_places: int) -> dict[int, int]:
    """The places of a beam shared out among banks of candidates, one bank for each progress: equally, what remains to
    the most advanced; what a bank cannot fill goes to the one with most candidates left, of those to the most advanced.
    """
    order = sorted(sizes, reverse=True)
    share, rest = divmod(num_places, len(order))
    places = {bank: min(share + (rank < rest), sizes[bank]) for rank, bank in enumerate(order)}
    while sum(places.values()) < min(num_places, sum(sizes.values())):
        fullest = max(order, key=lambda bank: (sizes[bank] - places[bank], bank))
        places[fullest] += 1
    return places


def _ids(target: Target) -> list[int]:
    return [token.token_id for token in target]
