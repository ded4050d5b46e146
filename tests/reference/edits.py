"""The log-probabilities of the next token: the model run over the whole target again, and what may not be chosen.

No search is here. A ban takes a token out of the choice after the softmax: the others keep their log-probability, other
than in CTranslate2, which bans before it. Sources: repetition_penalty, Keskar et al. 2019 (CTRL), section 4.1, as
CTranslate2's `RepetitionPenalty` has it (a negative logit is multiplied, so that every penalised token loses);
no_repeat_ngram_size, Paulus et al. 2018, section 2.5 ("we force our decoder to never output the same trigram more than
once"), CTranslate2's `NoRepeatNgram`; suppress_tokens and disable_unknown, its `SuppressTokens`; min_length, its
`apply_min_length`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from export.models.contract import TranslationModel
from export.models.control_tokens import BEGIN_ID, END_ID, UNKNOWN_ID
from tests.reference.options import Candidate, Ids, Options, Partial


def log_probabilities(
    model: TranslationModel, source_ids: Ids, y: Ids, options: Options, *, end_banned: bool = False
) -> Tensor:
    """l (vocabulary,) float32 of the token after y, minus infinity where it is banned; at a position of the prefix the
    model's own, without any ban.

    end_banned: the search does not let a target end here.
    """
    logits = next_logits(model, source_ids, y)
    if len(y) < len(options.prefix):
        return torch.log_softmax(logits, 0)
    penalise_repetition(logits, y, options.repetition_penalty)
    after = torch.log_softmax(logits, 0)
    after[list(banned_tokens(y, options))] = -math.inf
    if end_banned:
        after[END_ID] = -math.inf
    return after


def next_logits(model: TranslationModel, source_ids: Ids, y: Ids) -> Tensor:
    """z (vocabulary,) float32 of the token after y, by teacher forcing over all of y."""
    assert not model.training
    source, lengths = torch.tensor([source_ids]), torch.tensor([len(source_ids)])
    with torch.no_grad():
        logits: Tensor = model(source, lengths, torch.tensor([[BEGIN_ID, *y]]))
    return logits[0, -1].to(torch.float32, copy=True)


def penalise_repetition(logits: Tensor, y: Ids, penalty: float) -> None:
    """Divides the logit of every token that y has, or multiplies it where it is negative; each token once."""
    for token in set(y):
        logits[token] = logits[token] * penalty if logits[token] < 0 else logits[token] / penalty


def banned_tokens(y: Ids, options: Options) -> set[int]:
    """What may not follow y."""
    banned = set(options.suppress_tokens)
    if options.disable_unknown:
        banned.add(UNKNOWN_ID)
    if options.no_repeat_ngram_size > 0:
        banned |= completions_of_ngrams(y, options.no_repeat_ngram_size)
    if len(y) < options.min_length or options.ignore_end_of_sequence:
        banned.add(END_ID)
    return banned


def completions_of_ngrams(y: Ids, n: int) -> set[int]:
    """Tokens that would make the last n of y + token a sequence that y contains."""
    ngrams = [y[start : start + n] for start in range(len(y) - n + 1)]
    return {ngram[-1] for ngram in ngrams if (*y, ngram[-1])[-n:] == ngram}


def best_candidates(after: Tensor, count: int) -> list[Candidate]:
    """The `count` best tokens of l (vocabulary,), ties lower id first; banned ones never."""
    values, tokens = after.sort(descending=True, stable=True)
    ranked = zip(tokens[:count].tolist(), values[:count].tolist(), strict=True)
    return [Candidate(token, value) for token, value in ranked if value > -math.inf]


def extended(partial: Partial, token: int, after: Tensor, options: Options) -> Partial:
    """partial with one more token, after (vocabulary,) being l after it."""
    value = after[token].item()
    is_free = len(partial.ids) >= len(options.prefix)
    return Partial(
        (*partial.ids, token),
        (*partial.log_probabilities, value),
        partial.total + value if is_free else 0.0,
        (*partial.candidates, tuple(best_candidates(after, options.num_candidates))),
    )


def forced_prefix(model: TranslationModel, source_ids: Ids, options: Options) -> Partial:
    """The prefix as every target begins."""
    forced = Partial()
    for token in options.prefix:
        forced = extended(forced, token, log_probabilities(model, source_ids, forced.ids, options), options)
    return forced
