"""Beam search, as CTranslate2 has it: the best hypotheses go on together, one that ends leaves its place to another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from service.engine.decoding.continuation import Continuation, Target
from service.engine.decoding.search import Advance, StepRow
from service.engine.request import FinishReason, Hypothesis


class Live(NamedTuple):
    """A hypothesis under way; log_probability is of what follows the prefix."""

    target: Target
    log_probability: float


class Candidate(NamedTuple):
    """One token after one live hypothesis; total is the log-probability of both."""

    parent: int
    token_id: int
    log_probability: float
    total: float


class BeamSearch:
    """Keeps the beam_size most probable hypotheses (Sutskever et al. 2014, section 3.2; patience: Kasai et al. 2022).

    Of the 2 * beam_size best candidates of a step the first beam_size end or go on, and one that ends leaves its place
    to the next that goes on. Right after a prefix only the best candidate may end, and the others that would are
    dropped.
    """

    def __init__(self, continuation: Continuation) -> None:
        decoding = continuation.decoding
        self._continuation = continuation
        self._decoding = decoding
        self._most_ended = math.floor(decoding.beam_size * decoding.patience + 0.5)
        self._live = [Live((), 0.0)]
        self._ended: list[Hypothesis] = []
        self._best_has_ended = False
        self._num_settled = 0

    @property
    def needs_attention(self) -> bool:
        return self._decoding.coverage_penalty != 0.0 or bool(self._decoding.terms)

    def advance(self, rows: Sequence[StepRow]) -> Advance:
        only = self._live[0].target
        forced = self._continuation.forced(only)
        if forced is not None:
            self._live = [Live(self._continuation.follow_prefix(only, rows[0], forced), 0.0)]
            return self._advance((0,))
        candidates = self.candidates(self._live, rows)
        chosen = self._choose(candidates, rows)
        self._live = [self._follow(one, rows) for one in chosen]
        if self._is_finished(candidates):
            self._live = []
        return self._advance(tuple(one.parent for one in chosen))

    def candidates(self, live: Sequence[Live], rows: Sequence[StepRow]) -> list[Candidate]:
        """The candidates of a step: beam_size that end or go on, then those that may take the place of one that ends,
        both best first."""
        return self.best(range(len(live)), live, rows)

    def best(self, parents: Iterable[int], live: Sequence[Live], rows: Sequence[StepRow]) -> list[Candidate]:
        """The 2 * beam_size best candidates after some of the live hypotheses, best first."""
        count = 2 * self._decoding.beam_size
        found: list[tuple[float, int, float, int]] = []
        for parent in parents:
            target, before = live[parent]
            ranked = self._continuation.best(target, rows[parent].row, count)
            found += [(-before - value, parent, -value, token_id) for token_id, value in ranked]
        found.sort()
        return [Candidate(parent, token_id, -cost, -whole) for whole, parent, cost, token_id in found[:count]]

    def _choose(self, candidates: Sequence[Candidate], rows: Sequence[StepRow]) -> list[Candidate]:
        """The candidates that go on, of `candidates`. Notes those that end."""
        size, end_id = self._decoding.beam_size, self._continuation.end_id
        length = len(self._live[0].target) + 1
        is_last = length == self._decoding.max_length
        is_first_free = self._only_best_ends and length == len(self._decoding.prefix) + 1
        spare = (one for one in candidates[size:] if one.token_id != end_id)
        going_on = []
        for rank, one in enumerate(candidates[:size]):
            if one.token_id != end_id and not is_last:
                going_on.append(one)
            elif one.token_id != end_id or rank == 0 or not is_first_free:
                self._end(one, rows)
                if (other := next(spare, None)) is not None:
                    going_on.append(other)
        return [] if is_last else going_on

    @property
    def _only_best_ends(self) -> bool:
        """Whether right after the prefix no other candidate may end than the best one."""
        return bool(self._decoding.prefix)

    def _end(self, one: Candidate, rows: Sequence[StepRow]) -> None:
        followed = self._follow(one, rows)
        is_end = one.token_id == self._continuation.end_id
        reason = FinishReason.END_OF_SENTENCE if is_end else FinishReason.MAX_LENGTH
        score = self._continuation.score(followed.target, followed.log_probability)
        self._ended.append(Hypothesis(followed.target, score, reason))

    def _follow(self, one: Candidate, rows: Sequence[StepRow]) -> Live:
        target = self._live[one.parent].target
        step = rows[one.parent]
        return Live(self._continuation.follow(target, step, one.token_id, one.log_probability), one.total)

    def _is_finished(self, candidates: Sequence[Candidate]) -> bool:
        decoding = self._decoding
        self._best_has_ended |= bool(candidates) and candidates[0].token_id == self._continuation.end_id
        if not self._live:
            return True
        if decoding.length_penalty == 0.0 and decoding.coverage_penalty == 0.0:
            if self._best_has_ended and len(self._ended) >= decoding.num_hypotheses:
                return True
        elif len(self._ended) >= self._most_ended:
            return True
        return self._is_decided()

    def _is_decided(self) -> bool:
        """Whether no live hypothesis can still be among the best num_hypotheses: log-probabilities only fall, and no
        score is better than the best one's at the greatest length that its length penalty could ever divide by."""
        decoding = self._decoding
        if len(self._ended) < decoding.num_hypotheses or decoding.coverage_penalty < 0.0:
            return False
        best = max(one.log_probability for one in self._live)
        bound = self._continuation.normalized(best, decoding.max_length)
        return bool(self._best_ended()[decoding.num_hypotheses - 1].score >= bound)

    def _best_ended(self) -> list[Hypothesis]:
        return sorted(self._ended, key=self.rank)[: self._decoding.num_hypotheses]

    def _winners(self) -> Sequence[Hypothesis]:
        """The ended hypotheses that may still become the best."""
        return self._best_ended()[:1]

    def _contenders(self) -> Sequence[Live]:
        """The live hypotheses that may still become the best."""
        return self._live

    def rank(self, ended: Hypothesis) -> tuple[float, ...]:
        """Smaller for what is better."""
        return (-ended.score,)

    def _advance(self, parents: tuple[int, ...]) -> Advance:
        if not self._live:
            best = self._best_ended()
            return Advance((), (), best[0].tokens[self._num_settled :], hypotheses=tuple(best))
        contenders = self._contenders()
        targets = [one.target for one in contenders]
        first = max(contenders, key=lambda one: one.log_probability).target
        winners = [one.tokens for one in self._winners()]
        settled = common_length([*targets, *winners], start=self._num_settled)
        new, self._num_settled = first[self._num_settled : settled], settled
        token_ids = tuple(one.target[-1].token_id for one in self._live)
        return Advance(parents, token_ids, new, tentative=first[settled:])


def common_length(targets: Sequence[Target], *, start: int) -> int:
    """How many tokens all targets share, of which they share `start` surely. Tokens made from the same step of the same
    hypothesis are the same object."""
    shortest = min(len(target) for target in targets)
    length = start
    while length < shortest and all(target[length] is targets[0][length] for target in targets[1:]):
        length += 1
    return length
