"""Every decoding method, written a second time from its definition: plain, slow, batch 1, without any cache.

A parity test holds the engine against this. It shares no code with `service`; each step reads the whole target anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate

from torch import Tensor

from export.models.contract import TranslationModel
from export.models.control_tokens import END_ID
from tests.reference.beam import beam, constrained_beam
from tests.reference.edits import best_candidates, extended, forced_prefix, log_probabilities
from tests.reference.options import Candidate, Hypothesis, Ids, Options, Partial, TermMatch, Uniform
from tests.reference.scores import finish, has_ended

__all__ = [
    "Candidate",
    "Hypothesis",
    "Ids",
    "Options",
    "TermMatch",
    "Uniform",
    "alternatives",
    "beam",
    "constrained_beam",
    "greedy",
    "sample",
    "score",
]

Choose = Callable[[Tensor, int], int]
"""choose(l (vocabulary,), position) -> the token."""


def greedy(model: TranslationModel, source_ids: Ids, options: Options) -> list[Hypothesis]:
    """The most probable token of every step (CTranslate2's `GreedySearch`); one hypothesis."""
    return [_follow(model, source_ids, options, _best, forced_prefix(model, source_ids, options))]


def sample(model: TranslationModel, source_ids: Ids, options: Options, uniform: Uniform) -> list[Hypothesis]:
    """num_hypotheses targets whose free tokens are drawn, in the order of the draws."""

    def draw(number: int) -> Hypothesis:
        def choose(after: Tensor, position: int) -> int:
            return drawn_token(after, options, uniform(options.seed, number, position))

        return _follow(model, source_ids, options, choose, forced_prefix(model, source_ids, options))

    return [draw(number) for number in range(options.num_hypotheses)]


def alternatives(model: TranslationModel, source_ids: Ids, options: Options) -> list[Hypothesis]:
    """The num_hypotheses most probable first tokens after the prefix, each continued by greedy search, best first
    (CTranslate2's `decode_alternatives`, whose expansion has a min_length of 1: the end token is banned there)."""
    forced = forced_prefix(model, source_ids, options)
    after = log_probabilities(model, source_ids, forced.ids, options, end_banned=True)
    first = [
        token
        for rank, (token, value) in enumerate(best_candidates(after, options.num_hypotheses))
        if rank == 0 or math.exp(value) >= options.min_alternative_expansion_prob
    ]
    return [_follow(model, source_ids, options, _best, extended(forced, token, after, options)) for token in first]


def score(model: TranslationModel, source_ids: Ids, target_ids: Ids) -> tuple[float, ...]:
    """l of every token of a target that is given without its end token, and of the end token; no edits."""
    target = (*target_ids, END_ID)
    plain = Options(max_length=len(target))
    return tuple(
        log_probabilities(model, source_ids, target[:position], plain)[token].item()
        for position, token in enumerate(target)
    )


def drawn_token(after: Tensor, options: Options, u: float) -> int:
    """The token that the uniform number u draws from l (vocabulary,), all in float64.

    top_k: Fan et al. 2018 ("Hierarchical neural story generation"). top_p: Holtzman et al. 2020 ("The curious case of
    neural text degeneration"), the smallest set of the most probable tokens whose sum is at least p. min_p: Nguyen et
    al. 2024 ("Turning up the heat"), the tokens with at least this share of the largest probability.
    """
    tokens = best_candidates(after, options.top_k or len(after))
    if not tokens:
        raise ValueError("every token is banned")
    weights = [math.exp((value - tokens[0].log_probability) / options.temperature) for _, value in tokens]
    total = sum(weights)
    shares = [weight / total for weight in weights]
    if options.top_p < 1:
        num_short = sum(reached < options.top_p for reached in accumulate(shares))
        shares = shares[: num_short + 1]
    shares = [share for share in shares if share >= options.min_p * shares[0]]
    reached = list(accumulate(shares))
    return next(tokens[rank].token_id for rank in range(len(shares)) if reached[rank] > u * reached[-1])


def _best(after: Tensor, position: int) -> int:
    best = best_candidates(after, 1)
    if not best:
        raise ValueError("every token is banned")
    return best[0].token_id


def _follow(model: TranslationModel, source_ids: Ids, options: Options, choose: Choose, begun: Partial) -> Hypothesis:
    """What is begun, to its end: one chosen token after the other."""
    y = begun
    while not has_ended(y, options):
        after = log_probabilities(model, source_ids, y.ids, options)
        y = extended(y, choose(after, len(y.ids)), after, options)
    return finish(model, source_ids, y, options)
