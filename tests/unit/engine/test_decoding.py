"""Every search method over scripted probabilities, without a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.decoding.make import make_search
from service.engine.decoding.sampling import draw
from service.engine.decoding.search import StepRow
from service.engine.decoding.terms import begun, find, following, progress
from service.engine.request import Decoding, FinishReason, Hypothesis, Request, Sampling, Term
from service.model.errors import NotFiniteError
from service.model.row import Row

END, A, B, C, D = 3, 4, 5, 6, 7
SIZE = 8
Model = Callable[[tuple[int, ...]], dict[int, float]]


def row_of(probabilities: dict[int, float], num_candidates: int = 2) -> Row:
    """A row of a step; tokens that are not named have nearly no probability."""
    logits = np.full(SIZE, -30.0, np.float32)
    for token_id, probability in probabilities.items():
        logits[token_id] = math.log(probability)
    log_probabilities = logits - np.log(np.exp(logits.astype(np.float64)).sum()).astype(np.float32)
    order = np.lexsort((np.arange(SIZE), -logits))[:num_candidates]
    return Row(order.tolist(), log_probabilities[order].tolist(), logits)


def run(
    model: Model,
    decoding: Decoding,
    *,
    seed: int | None = None,
    attention: Callable[[tuple[int, ...]], list[float]] = lambda _: [0.25, 0.75],
) -> tuple[list[list[int]], Sequence[Hypothesis]]:
    """The tokens that each step settled, and the hypotheses at the end."""
    search = make_search(Request(1, (9, END), decoding, seed=seed), end_id=END)
    rows: list[tuple[int, ...]] = [()]
    settled: list[list[int]] = []
    while True:
        steps = [StepRow(row_of(model(target)), attention(target) if search.needs_attention else []) for target in rows]
        advance = search.advance(steps)
        settled.append([token.token_id for token in advance.settled])
        if advance.hypotheses:
            assert not advance.parents
            return settled, advance.hypotheses
        rows = [(*rows[parent], token) for parent, token in zip(advance.parents, advance.token_ids, strict=True)]


def ids(hypothesis: Hypothesis) -> list[int]:
    return [token.token_id for token in hypothesis.tokens]


def greedy_trap(target: tuple[int, ...]) -> dict[int, float]:
    """A is the best first token, but what begins with B is more probable as a whole."""
    if not target:
        return {A: 0.6, B: 0.4}
    if target == (A,):
        return {C: 0.3, D: 0.3, A: 0.2, B: 0.2}
    if target == (B,):
        return {C: 0.9, D: 0.1}
    return {END: 1.0}


def test_greedy_takes_the_best_token_until_the_sentence_ends() -> None:
    settled, (hypothesis,) = run(greedy_trap, Decoding(10))
    assert settled == [[A], [C], [END]]
    assert ids(hypothesis) == [A, C, END]
    assert hypothesis.finish_reason is FinishReason.END_OF_SENTENCE
    assert hypothesis.log_probability == pytest.approx(math.log(0.6 * 0.3))


def test_max_length_ends_a_target_and_the_end_of_the_sentence_there_counts_as_the_end() -> None:
    assert run(greedy_trap, Decoding(2))[1][0].finish_reason is FinishReason.MAX_LENGTH
    assert run(greedy_trap, Decoding(3))[1][0].finish_reason is FinishReason.END_OF_SENTENCE


@pytest.mark.parametrize(
    "search", [{}, {"beam_size": 3}, {"sampling": Sampling(top_k=3)}, {"alternatives": True, "num_hypotheses": 2}]
)
def test_a_sentence_whose_end_is_ignored_has_exactly_max_length_tokens(search: dict[str, Any]) -> None:
    for length in (1, 2, 7):
        settled, hypotheses = run(greedy_trap, Decoding(length, min_length=length, **search), seed=5)
        assert [len(one.tokens) for one in hypotheses] == [length] * len(hypotheses)
        assert all(one.finish_reason is FinishReason.MAX_LENGTH and END not in ids(one) for one in hypotheses)
        assert sum(map(len, settled)) == length
        assert len(settled) == length


def test_beam_search_finds_what_greedy_search_misses() -> None:
    _, hypotheses = run(greedy_trap, Decoding(10, beam_size=2, num_hypotheses=2))
    assert ids(hypotheses[0]) == [B, C, END]
    assert hypotheses[0].score == pytest.approx(math.log(0.4 * 0.9) / 3)
    assert hypotheses[0].score > hypotheses[1].score


def test_the_length_penalty_decides_between_short_and_long() -> None:
    def model(target: tuple[int, ...]) -> dict[int, float]:
        if not target:
            return {A: 0.5, B: 0.5}
        if target[0] == A:
            return {END: 0.6, A: 0.4}
        return {B: 0.8, END: 0.2} if len(target) < 3 else {END: 0.8, B: 0.2}

    short = run(model, Decoding(10, beam_size=2, length_penalty=0.0, patience=2.0, num_hypotheses=3))[1]
    long = run(model, Decoding(10, beam_size=2, length_penalty=2.0, patience=2.0, num_hypotheses=3))[1]
    assert ids(short[0]) == [A, END]
    assert ids(long[0]) == [B, B, B, END]


def test_the_coverage_penalty_is_added_to_the_score() -> None:
    plain = run(greedy_trap, Decoding(10, beam_size=2))[1][0]
    covered = run(greedy_trap, Decoding(10, beam_size=2, coverage_penalty=2.0))[1][0]
    assert covered.score == pytest.approx(plain.score + 2.0 * math.log(3 * 0.25))


def test_more_patience_finds_more() -> None:
    def model(target: tuple[int, ...]) -> dict[int, float]:
        if len(target) == 1:
            return {END: 0.3, A: 0.7}
        return {A: 0.55, B: 0.45} if not target else {END: 0.95, A: 0.05}

    hasty = run(model, Decoding(10, beam_size=2, length_penalty=1.0))[1]
    patient = run(model, Decoding(10, beam_size=2, length_penalty=1.0, patience=2.0))[1]
    assert patient[0].score >= hasty[0].score
    assert len(run(model, Decoding(10, beam_size=2, patience=2.0, num_hypotheses=4))[1]) == 4


def test_beam_search_stops_as_soon_as_no_live_hypothesis_can_win() -> None:
    def model(target: tuple[int, ...]) -> dict[int, float]:
        return {END: 0.99, B: 0.01} if target == (A,) else {A: 0.999, B: 0.001}

    steps, (best,) = run(model, Decoding(50, beam_size=4))
    assert ids(best) == [A, END]
    assert len(steps) == 2


def test_settled_tokens_are_the_beginning_of_the_final_target() -> None:
    def model(target: tuple[int, ...]) -> dict[int, float]:
        if len(target) == 1:
            return {C: 0.5, D: 0.5}
        return {END: 1.0} if len(target) > 5 else {A: 0.999999, B: 1e-6}

    settled, (best,) = run(model, Decoding(10, beam_size=2))
    assert [token for step in settled for token in step] == ids(best)
    assert settled[1] == [A]
    assert settled[-1] != []


@given(seed=st.integers(0, 2**32 - 1), beam_size=st.integers(2, 5), penalty=st.sampled_from([0.0, 0.6, 1.0]))
def test_what_is_settled_only_grows_and_is_never_taken_back(seed: int, beam_size: int, penalty: float) -> None:
    def model(target: tuple[int, ...]) -> dict[int, float]:
        rng = np.random.default_rng([seed, *target])
        return dict(zip(range(3, SIZE), rng.dirichlet(np.full(SIZE - 3, 0.3)) + 1e-9, strict=True))

    settled, hypotheses = run(model, Decoding(12, beam_size=beam_size, length_penalty=penalty))
    assert [token for step in settled for token in step] == ids(hypotheses[0])


def test_rules_take_tokens_away_and_leave_probabilities_as_they_are() -> None:
    def model(target: tuple[int, ...]) -> dict[int, float]:
        return {A: 0.5, B: 0.3, END: 0.2} if len(target) < 6 else {END: 1.0}

    def first(**options: object) -> list[int]:
        return ids(run(model, Decoding(10, **options))[1][0])  # type: ignore[arg-type]

    assert first() == [A] * 6 + [END]
    assert first(suppressed=frozenset({A})) == [B] * 6 + [END]
    assert first(suppressed=frozenset({A, B})) == [END]
    assert first(suppressed=frozenset({A, B}), min_length=2)[:2] not in ([END], [A, A], [B, B])
    assert first(no_repeat_ngram_size=1) == [A, B, END]
    assert first(no_repeat_ngram_size=2) == [A, A, B, A, END]
    hypothesis = run(model, Decoding(10, suppressed=frozenset({A})))[1][0]
    assert hypothesis.tokens[0].log_probability == pytest.approx(math.log(0.3), abs=1e-5)


def test_the_sentence_ends_where_no_token_is_allowed() -> None:
    everything = frozenset(range(SIZE))
    for decoding in (Decoding(10, suppressed=everything), Decoding(10, suppressed=everything, beam_size=2)):
        assert ids(run(greedy_trap, decoding)[1][0]) == [END]
    drawn = run(greedy_trap, Decoding(10, suppressed=everything, sampling=Sampling()), seed=1)[1][0]
    assert ids(drawn) == [END]


def test_min_length_keeps_the_end_away() -> None:
    def model(target: tuple[int, ...]) -> dict[int, float]:
        return {END: 0.9, A: 0.1}

    assert ids(run(model, Decoding(10))[1][0]) == [END]
    assert ids(run(model, Decoding(10, min_length=3))[1][0]) == [A, A, A, END]
    assert ids(run(model, Decoding(10, min_length=3, beam_size=2, length_penalty=0.0))[1][0]) == [A, A, A, END]


def test_a_repetition_penalty_makes_tokens_that_came_less_probable() -> None:
    def model(target: tuple[int, ...]) -> dict[int, float]:
        return {A: 0.4, B: 0.35, END: 0.25}

    assert ids(run(model, Decoding(3))[1][0]) == [A, A, A]
    assert ids(run(model, Decoding(3, repetition_penalty=2.0))[1][0]) == [A, B, END]


SEARCHES = (
    Decoding(4),
    Decoding(4, num_candidates=4),
    Decoding(4, beam_size=2),
    Decoding(4, sampling=Sampling(temperature=0.7)),
    Decoding(4, num_hypotheses=2, alternatives=True),
    Decoding(4, beam_size=2, terms=(Term(0, ((B,),)),)),
)


@pytest.mark.parametrize("decoding", SEARCHES)
def test_a_penalty_that_leaves_no_probabilities_is_an_error_in_every_search(decoding: Decoding) -> None:
    """A positive logit over next to nothing is infinite."""
    with pytest.raises(NotFiniteError, match="repetition penalty"):
        run(lambda _: {A: 20.0, B: 10.0}, replace(decoding, repetition_penalty=1e-45), seed=3)


@pytest.mark.parametrize("decoding", SEARCHES)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_token_without_a_log_probability_is_an_error_in_every_search(decoding: Decoding, value: float) -> None:
    search = make_search(Request(1, (9, END), decoding, seed=3), end_id=END)
    logits = np.full(SIZE, value, np.float32)
    with pytest.raises(NotFiniteError, match="no number"):
        search.advance([StepRow(Row([*range(SIZE)], [value] * SIZE, logits), [0.25, 0.75])])


def test_a_prefix_is_forced_with_its_own_probability() -> None:
    settled, (hypothesis,) = run(greedy_trap, Decoding(10, prefix=(B,)))
    assert settled == [[B], [C], [END]]
    assert hypothesis.tokens[0].log_probability == pytest.approx(math.log(0.4))
    _, (searched,) = run(greedy_trap, Decoding(10, prefix=(B, D), beam_size=3))
    assert ids(searched)[:2] == [B, D]
    assert searched.log_probability == pytest.approx(math.log(0.4 * 0.1))
    assert searched.score == pytest.approx(0.0, abs=1e-6)


def test_a_prefix_with_the_end_of_the_sentence_scores_a_target() -> None:
    _, (scored,) = run(greedy_trap, Decoding(3, prefix=(A, D, END)))
    assert [token.log_probability for token in scored.tokens] == pytest.approx(
        [math.log(0.6), math.log(0.3), 0.0], abs=1e-5
    )


def test_alternatives_differ_in_the_first_free_token() -> None:
    settled, hypotheses = run(greedy_trap, Decoding(10, prefix=(A,), alternatives=True, num_hypotheses=3))
    assert [ids(one) for one in hypotheses] == [[A, C, END], [A, D, END], [A, A, END]]
    assert settled == [[A], [C], [END]]
    few = Decoding(10, alternatives=True, num_hypotheses=3, min_alternative_probability=0.5)
    assert [ids(one)[0] for one in run(greedy_trap, few)[1]] == [A]


def test_the_shown_line_may_end_before_the_others() -> None:
    def model(target: tuple[int, ...]) -> dict[int, float]:
        if not target:
            return {A: 0.6, B: 0.4}
        return {END: 1.0} if target[0] == A or len(target) == 4 else {B: 1.0}

    settled, hypotheses = run(model, Decoding(10, alternatives=True, num_hypotheses=2))
    assert [ids(one) for one in hypotheses] == [[A, END], [B, B, B, B, END]]
    assert settled == [[A], [END], [], [], []]


def test_the_same_seed_draws_the_same_and_draws_differ() -> None:
    def model(target: tuple[int, ...]) -> dict[int, float]:
        return {END: 1.0} if len(target) == 8 else {A: 0.25, B: 0.25, C: 0.25, D: 0.25}

    decoding = Decoding(10, sampling=Sampling(), num_hypotheses=4)
    one, again, other = (run(model, decoding, seed=seed)[1] for seed in (1, 1, 2))
    assert [ids(a) for a in one] == [ids(a) for a in again]
    assert [ids(a) for a in one] != [ids(a) for a in other]
    assert len({tuple(ids(a)) for a in one}) == 4


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), {A: 0.5, B: 0.3, C: 0.15, D: 0.05}),
        (Sampling(temperature=0.5), {A: 0.6849, B: 0.2466, C: 0.0616, D: 0.0068}),
        (Sampling(top_k=2), {A: 0.625, B: 0.375}),
        (Sampling(top_p=0.7), {A: 0.625, B: 0.375}),
        (Sampling(top_p=0.81), {A: 0.5263, B: 0.3158, C: 0.1579}),
        (Sampling(min_p=0.25), {A: 0.5263, B: 0.3158, C: 0.1579}),
        (Sampling(top_k=3, top_p=0.6), {A: 0.625, B: 0.375}),
    ],
)
def test_tokens_are_drawn_in_proportion_to_what_is_left(sampling: Sampling, expected: dict[int, float]) -> None:
    def model(target: tuple[int, ...]) -> dict[int, float]:
        return {A: 0.5, B: 0.3, C: 0.15, D: 0.05}

    drawn = [ids(one)[0] for seed in range(150) for one in run(model, _many(sampling), seed=seed)[1]]
    for token in (A, B, C, D):
        assert drawn.count(token) / len(drawn) == pytest.approx(expected.get(token, 0.0), abs=0.025)


def _many(sampling: Sampling) -> Decoding:
    return Decoding(1, sampling=sampling, num_hypotheses=32)


@given(
    weights=st.lists(st.floats(1e-3, 1.0), min_size=2, max_size=30),
    number=st.floats(1e-9, 1 - 1e-9),
    top_p=st.sampled_from([1.0, 0.9, 0.5, 1e-6]),
    min_p=st.sampled_from([0.0, 0.1, 0.9]),
    known=st.integers(1, 29),
)
def test_a_draw_from_the_first_tokens_is_the_draw_from_all(
    weights: list[float], number: float, top_p: float, min_p: float, known: int
) -> None:
    probabilities = np.sort(np.array(weights) / sum(weights))[::-1]
    sampling = Sampling(top_p=top_p, min_p=min_p)
    of_all = draw(probabilities, sampling, number, is_all=True)
    assert of_all is not None
    of_first = draw(probabilities[:known], sampling, number, is_all=known >= len(weights))
    assert of_first in (None, of_all)


def test_every_step_reports_the_candidates_that_were_asked_for() -> None:
    _, (hypothesis,) = run(greedy_trap, Decoding(10, num_candidates=3))
    first, second, _ = hypothesis.tokens
    assert [token_id for token_id, _ in first.candidates][:2] == [A, B]
    assert [token_id for token_id, _ in second.candidates] == [C, D, A]
    assert math.exp(second.candidates[1][1]) == pytest.approx(0.3, abs=1e-5)


def test_a_term_is_held_although_it_is_improbable() -> None:
    def model(target: tuple[int, ...]) -> dict[int, float]:
        if len(target) >= 5:
            return {END: 1.0}
        return {A: 0.7, END: 0.25, B: 0.03, C: 0.01, D: 0.01}

    free = run(model, Decoding(10, beam_size=4))[1][0]
    assert B not in ids(free)
    bound = run(model, Decoding(10, beam_size=4, terms=(Term(0, ((C, D),)),)))[1][0]
    assert find(ids(bound), ((C, D),)) is not None
    either = run(model, Decoding(10, beam_size=4, terms=(Term(0, ((C, D), (B,))),)))[1][0]
    assert B in ids(either)
    both = run(model, Decoding(10, beam_size=6, terms=(Term(0, ((C, D),)), Term(1, ((B,),)))))[1][0]
    assert find(ids(both), ((C, D),)) is not None
    assert B in ids(both)


def test_a_term_of_the_source_comes_where_the_step_attends_to_it() -> None:
    """The second source token is attended to at the third step; B stands for it."""

    def model(target: tuple[int, ...]) -> dict[int, float]:
        return {END: 1.0} if len(target) >= 4 else {A: 0.8, C: 0.15, D: 0.05, B: 0.0001}

    def attention(target: tuple[int, ...]) -> list[float]:
        return [0.0, 1.0] if len(target) == 2 else [1.0, 0.0]

    decoding = Decoding(10, beam_size=4, terms=(Term(0, ((B,),), (1, 2)),))
    assert ids(run(model, decoding, attention=attention)[1][0]) == [A, A, B, A, END]
    never = run(model, decoding, attention=lambda _: [1.0, 0.0])[1][0]
    assert B in ids(never)


def test_how_far_a_target_has_its_terms() -> None:
    terms = (Term(0, ((A, B, C),)), Term(1, ((D,), (B, B))))
    assert find((B, A, B, C), terms[0].phrases) is not None
    assert begun((B, A, B), (A, B, C)) == 2
    assert begun((A, B, C), (A, B, C)) == 0
    assert following((B, A, B), terms) == {C, D, B}
    assert following((D, A), terms) == {B}
    assert [progress(target, terms) for target in ((), (A,), (A, B), (A, B, C), (A, B, C, D))] == [0, 1, 3, 3, 4]


def test_a_row_ranks_the_whole_vocabulary_and_breaks_ties_by_the_lower_id() -> None:
    row = row_of({A: 0.4, B: 0.2, C: 0.2, D: 0.2})
    assert [token for token, _ in row.best(4)] == [A, B, C, D]
    assert [token for token, _ in row.best(3)] == [A, B, C]
    assert [token for token, _ in row.best(SIZE)] == [A, B, C, D, 0, 1, 2, 3]
    assert row.log_probability(D) == pytest.approx(math.log(0.2), abs=1e-5)
    assert sum(math.exp(value) for _, value in row.best(SIZE)) == pytest.approx(1.0, abs=1e-5)
