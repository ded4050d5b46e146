"""What hypotheses are ranked by. No search is here.

score = S / L^length_penalty + coverage: Wu et al. 2016 (GNMT), equation 14, with CTranslate2's length norm L^a in place
of ((5 + L) / 6)^a (`finalize_hypothesis_score`), and its coverage, which leaves out source positions without any
attention, whose logarithm would be infinite (`compute_coverage_penalty`).
"""

from __future__ import annotations

import math

import torch

from export.models.contract import TranslationModel
from export.models.control_tokens import BEGIN_ID, END_ID
from tests.reference.options import Hypothesis, Ids, Options, Partial
from tests.reference.terms import find_term


def has_ended(partial: Partial, options: Options) -> bool:
    return END_ID in partial.ids or len(partial.ids) == options.max_length


def finish(model: TranslationModel, source_ids: Ids, partial: Partial, options: Options) -> Hypothesis:
    """The hypothesis that a target has become which ended."""
    assert has_ended(partial, options)
    return Hypothesis(
        partial.ids,
        partial.log_probabilities,
        score_of(model, source_ids, partial, options),
        "end_of_sentence" if END_ID in partial.ids else "max_length",
        partial.candidates,
        tuple(find_term(partial.ids, term) for term in options.terms),
    )


def score_of(model: TranslationModel, source_ids: Ids, partial: Partial, options: Options) -> float:
    """L counts the prefix and the end token; so do the rows of attention."""
    score: float = partial.total / len(partial.ids) ** options.length_penalty
    if options.coverage_penalty != 0:
        score += options.coverage_penalty * coverage(attention_rows(model, source_ids, partial.ids))
    return score


def coverage(rows: list[list[float]]) -> float:
    """rows (target_length, source_length) -> sum of log(min(attention received, 1)) over the source positions that
    received any."""
    received = [sum(column) for column in zip(*rows, strict=True)]
    return sum(math.log(min(total, 1.0)) for total in received if total > 0)


def attention_rows(model: TranslationModel, source_ids: Ids, tokens: Ids) -> list[list[float]]:
    """(len(tokens), source_length): for each token the attention of the step that predicts it."""
    source, lengths = torch.tensor([source_ids]), torch.tensor([len(source_ids)])
    rows = []
    with torch.no_grad():
        states = model.initial_states(source, lengths, capacity=len(tokens))
        for position, token in enumerate((BEGIN_ID, *tokens)[: len(tokens)]):
            output = model.step(torch.tensor([token]), torch.tensor([position]), lengths, states)
            states = states | output.states
            if output.attention is None:
                raise ValueError("a coverage penalty needs a model with attention")
            rows.append(output.attention[0].tolist())
    return rows
