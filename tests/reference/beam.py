"""Beam search, with and without terms, as slow as it is plain: every live target is read anew in every step.

As CTranslate2's `BeamSearch::search`: twice as many candidates as places, so that those which end can be replaced;
patience (Kasai et al. 2022, "A call for clarity in beam search": stop once beam_size * patience hypotheses are
complete). A search is not ended earlier where no live target can win any more: that must not change its result.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from export.models.contract import TranslationModel
from export.models.control_tokens import END_ID
from tests.reference.edits import best_candidates, extended, forced_prefix, log_probabilities
from tests.reference.options import Hypothesis, Ids, Options, Partial
from tests.reference.scores import finish
from tests.reference.terms import allot, next_tokens, progress, unmet


class Pair(NamedTuple):
    """A live target by its place, a token that may follow it, and s = S + l of both."""

    place: int
    token: int
    total: float


Arrange = Callable[[list[Partial], list[Tensor], Options], list[Pair]]
"""Gives a step's candidates c_0, c_1, ... of the live targets and the l after each of them: the first beam_size end or
go on, the others may replace."""


def beam(model: TranslationModel, source_ids: Ids, options: Options) -> list[Hypothesis]:
    """The num_hypotheses best targets that beam search finds, best first."""
    if options.terms:
        raise ValueError("terms need constrained_beam")
    return _search(model, source_ids, options, _best_pairs)


def constrained_beam(model: TranslationModel, source_ids: Ids, options: Options) -> list[Hypothesis]:
    """The same with terms: dynamic beam allocation (Post and Vilar 2018, "Fast lexically constrained decoding with
    dynamic beam allocation for neural machine translation")."""
    return _search(model, source_ids, options, _pairs_by_banks)


def _search(model: TranslationModel, source_ids: Ids, options: Options, arrange: Arrange) -> list[Hypothesis]:
    live = [forced_prefix(model, source_ids, options)]
    finished = list[Hypothesis]()
    is_over = best_has_ended = False
    while live and not is_over:
        num_made = len(live[0].ids)
        is_last = num_made + 1 == options.max_length
        only_best_ends = bool(options.prefix) and num_made == len(options.prefix)
        afters = [
            log_probabilities(model, source_ids, y.ids, options, end_banned=bool(unmet(y.ids, options.terms)))
            for y in live
        ]
        candidates = arrange(live, afters, options)
        spare = [pair for pair in candidates[options.beam_size :] if pair.token != END_ID]
        going_on = list[Pair]()
        for rank, pair in enumerate(candidates[: options.beam_size]):
            if pair.token == END_ID and rank > 0 and only_best_ends:
                continue
            if pair.token == END_ID or is_last:
                made = extended(live[pair.place], pair.token, afters[pair.place], options)
                finished.append(finish(model, source_ids, made, options))
                going_on += [spare.pop(0)] if spare else []
            else:
                going_on.append(pair)
        best_has_ended = best_has_ended or (bool(candidates) and candidates[0].token == END_ID)
        is_over = is_last or _is_enough(finished, options, best_has_ended=best_has_ended)
        live = [extended(live[pair.place], pair.token, afters[pair.place], options) for pair in going_on]
    return sorted(finished, key=_rank)[: options.num_hypotheses]


def _rank(hypothesis: Hypothesis) -> tuple[int, float]:
    """Targets that have every term first, however probable those are that do not; then by score."""
    return hypothesis.term_matches.count(None), -hypothesis.score


def _is_enough(finished: list[Hypothesis], options: Options, *, best_has_ended: bool) -> bool:
    """Without any penalty once a best candidate has ended, as CTranslate2's `allow_early_exit`."""
    if options.length_penalty == 0 and options.coverage_penalty == 0:
        return best_has_ended and len(finished) >= options.num_hypotheses
    return len(finished) >= math.floor(options.beam_size * options.patience + 0.5)


def _sorted(pairs: list[Pair]) -> list[Pair]:
    """Best s first, ties by place, then by id."""
    return sorted(pairs, key=lambda pair: (-pair.total, pair.place, pair.token))


def _best_pairs(live: list[Partial], afters: list[Tensor], options: Options) -> list[Pair]:
    """The 2 * beam_size best pairs: no live target has more of them than that."""
    count = 2 * options.beam_size
    pairs = [
        Pair(place, token, y.total + value)
        for place, (y, after) in enumerate(zip(live, afters, strict=True))
        for token, value in best_candidates(after, count)
    ]
    return _sorted(pairs)[:count]


def _pairs_by_banks(live: list[Partial], afters: list[Tensor], options: Options) -> list[Pair]:
    """The best pairs, what brings a term on, and the best token of each target (Post and Vilar 2018, section 3): first
    those that the banks have places for, then the others, both by s."""
    wanted = {pair[:2] for pair in _best_pairs(live, afters, options)}
    for place, (y, after) in enumerate(zip(live, afters, strict=True)):
        wanted |= {(place, token) for token in next_tokens(y.ids, options.terms)}
        wanted |= {(place, token) for token, _ in best_candidates(after, 1)}
    values = {(place, token): afters[place][token].item() for place, token in wanted}
    candidates = _sorted([Pair(*key, live[key[0]].total + value) for key, value in values.items() if value > -math.inf])
    banks = [progress((*live[pair.place].ids, pair.token), options.terms) for pair in candidates]
    left = allot(Counter(banks), options.beam_size)
    chosen, others = list[Pair](), list[Pair]()
    for pair, bank in zip(candidates, banks, strict=True):
        if left[bank] > 0:
            left[bank] -= 1
            chosen.append(pair)
        else:
            others.append(pair)
    return chosen + others
