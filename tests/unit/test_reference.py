"""The slow second implementation of every decoding method keeps its promises, on scripted and on tiny random models."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch

from export.models.control_tokens import BEGIN_ID, END_ID, UNKNOWN_ID
from tests.reference.decoding import alternatives, beam, constrained_beam, greedy, sample, score
from tests.reference.exhaustive import every_target
from tests.reference.options import Hypothesis, Ids, Options, TermMatch
from tests.reference.scores import attention_rows
from tests.reference.scripted import Scripted, always, follows, random_model
from tests.reference.terms import allot, num_matched, progress

A, B, C, D = 4, 5, 6, 7
SOURCE = (UNKNOWN_ID, BEGIN_ID, END_ID)


def ids_of(hypotheses: list[Hypothesis]) -> list[Ids]:
    return [hypothesis.ids for hypothesis in hypotheses]


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("kind", ["scripted", "transformer", "lstm"])
@pytest.mark.parametrize("seed", range(2))
def test_a_beam_of_the_squared_vocabulary_finds_the_best_of_all_targets(kind, seed, length_penalty):
    model = random_model(kind, 4, seed)
    (found,) = beam(model, SOURCE, Options(max_length=3, beam_size=4**2, length_penalty=length_penalty))
    best, best_score = every_target(model, SOURCE, vocabulary_size=4, max_length=3, length_penalty=length_penalty)[0]
    assert found.ids == best
    assert found.score == pytest.approx(best_score, abs=1e-6)


@pytest.mark.parametrize("penalties", [(1.0, 0.0), (0.5, 0.3), (0.0, 2.0)])
@pytest.mark.parametrize("kind", ["scripted", "transformer", "lstm"])
def test_a_beam_with_room_for_every_target_ranks_them_all(kind, penalties):
    model = random_model(kind, 4, seed=7)
    chosen = {"length_penalty": penalties[0], "coverage_penalty": penalties[1]}
    found = beam(model, SOURCE, Options(3, beam_size=64, num_hypotheses=64, **chosen))
    expected = every_target(model, SOURCE, vocabulary_size=4, max_length=3, **chosen)
    assert len(found) == len(expected) == 1 + 3 + 9 + 27
    assert [h.score for h in found] == pytest.approx([value for _, value in expected], abs=1e-6)
    assert {h.ids: h.score for h in found} == pytest.approx(dict(expected), abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_a_beam_with_room_for_every_target_ranks_those_with_the_terms_first(seed):
    def num_missing(y: Ids) -> int:
        return (1 not in y) + (not any(y[start : start + 2] in ((0, 1), (2, 2)) for start in range(3)))

    model = random_model("scripted", 4, seed)
    options = Options(4, beam_size=200, num_hypotheses=200, terms=(((0, 1), (2, 2)), ((1,),)))
    found = constrained_beam(model, SOURCE, options)
    targets = [ids for ids, _ in every_target(model, SOURCE, vocabulary_size=4, max_length=4)]
    possible = [ids for ids in targets if ids[-1] != END_ID or not num_missing(ids)]
    assert ids_of(found) == sorted(possible, key=num_missing)
    assert all(h.term_matches.count(None) == num_missing(h.ids) for h in found)


def test_without_terms_the_constrained_beam_is_the_beam():
    for seed in range(10):
        model, options = random_model("scripted", 8, seed), Options(max_length=8, beam_size=3, num_hypotheses=3)
        assert beam(model, SOURCE, options) == constrained_beam(model, SOURCE, options)


@pytest.mark.parametrize("beam_size", [2, 3, 7])
def test_what_ends_has_every_term_in_one_of_its_ways(beam_size):
    terms = (((D, C, D),), ((C, C), (B, C)))
    for seed in range(5):
        random = random_model("scripted", 8, seed)
        eager = Scripted(lambda y, random=random: [x + 6 * (i == END_ID) for i, x in enumerate(random.logits_after(y))])
        found = constrained_beam(eager, SOURCE, Options(15, beam_size=beam_size, num_hypotheses=2, terms=terms))
        assert [h.finish_reason for h in found] == ["end_of_sentence"] * 2
        for hypothesis in found:
            for term, (alternative, start, end) in zip(terms, hypothesis.term_matches, strict=True):
                assert hypothesis.ids[start:end] == term[alternative]


def test_a_term_that_cannot_be_said_is_reported_at_max_length():
    options = Options(3, beam_size=2, suppress_tokens=(D,), terms=(((D,),), ((A,),)))
    for hypothesis in constrained_beam(always(0, 0, 0, 9, 1, 0, 0, 0), SOURCE, options):
        assert hypothesis.finish_reason == "max_length"
        assert hypothesis.term_matches[0] is None


def test_banks_share_the_beam_and_lend_what_they_cannot_use():
    assert allot({0: 9, 1: 9, 2: 9}, 8) == {2: 3, 1: 3, 0: 2}
    assert allot({0: 9, 1: 1, 2: 1}, 6) == {2: 1, 1: 1, 0: 4}
    assert allot({0: 4, 3: 4, 5: 1}, 6) == {5: 1, 3: 3, 0: 2}
    assert allot({0: 5, 3: 4, 5: 1}, 6) == {5: 1, 3: 2, 0: 3}
    assert allot({0: 9, 1: 9, 2: 9}, 2) == {2: 1, 1: 1, 0: 0}
    assert allot({4: 1}, 6) == {4: 1}


def test_progress_counts_the_matched_part_of_each_term():
    assert [num_matched((A, B, A), alternative) for alternative in ((A, B, A, C), (A, B, A), (B,))] == [3, 1, 0]
    terms = (((A, B, C), (D, D)), ((B,),))
    assert [progress(y, terms) for y in ((), (A,), (A, B), (A, B, C), (D,), (B, D, D))] == [0, 1, 3, 3, 1, 3]


def test_an_ended_candidate_is_replaced_by_the_best_beyond_the_beam_that_goes_on():
    after = {(): {A: 0.5, B: 0.4}, (A,): {END_ID: 0.55, C: 0.45}, (B,): {END_ID: 0.55, D: 0.45}}
    found = beam(follows(after), SOURCE, Options(5, 2, num_hypotheses=3, length_penalty=0.01, patience=2.0))
    assert ids_of(found) == [(A, END_ID), (A, C, END_ID), (B, D, END_ID)]


@pytest.mark.parametrize(("patience", "expected"), [(1.2, (A, END_ID)), (1.25, (A, C, END_ID)), (2.0, (A, C, END_ID))])
def test_patience_waits_for_a_better_hypothesis(patience, expected):
    after = {(): {A: 0.51, B: 0.49}, (A,): {END_ID: 0.7, C: 0.3}, (B,): {END_ID: 0.7, C: 0.3}}
    found = beam(follows(after), SOURCE, Options(5, beam_size=2, patience=patience, length_penalty=3.0))
    assert ids_of(found) == [expected]


def test_without_penalties_beam_search_goes_on_until_a_best_candidate_and_enough_have_ended():
    after = {(): {A: 0.6, END_ID: 0.4}, (A,): {B: 0.9, END_ID: 0.1}, (A, B): {END_ID: 1.0}}
    options = Options(5, beam_size=2, num_hypotheses=2, length_penalty=0.0)
    assert ids_of(beam(follows(after), SOURCE, options)) == [(A, B, END_ID), (END_ID,)]
    covered = replace(options, coverage_penalty=1.0)
    assert ids_of(beam(follows(after, ((1.0,),) * 5), SOURCE, covered)) == [(END_ID,), (A, END_ID)]
    after[()] = {A: 0.4, END_ID: 0.6}
    assert ids_of(beam(follows(after), SOURCE, options)) == [(END_ID,), (A, END_ID)]


def test_after_a_prefix_only_the_best_candidate_may_end_at_once():
    after = {(A,): {B: 0.51, END_ID: 0.49}, (A, B): {C: 0.6, END_ID: 0.4}}
    options = Options(3, beam_size=2, num_hypotheses=2, prefix=(A,), length_penalty=0.01)
    assert ids_of(beam(follows(after), SOURCE, options)) == [(A, B, C), (A, B, END_ID)]
    after[(A,)] = {B: 0.49, END_ID: 0.51}
    assert ids_of(beam(follows(after), SOURCE, options)) == [(A, END_ID), (A, B, C)]


def test_ties_go_to_the_lower_id_and_the_earlier_parent():
    assert greedy(always(*[0.0] * 8), SOURCE, Options(2))[0].ids == (0, 0)
    found = beam(always(*[0.0] * 8), SOURCE, Options(2, beam_size=3, num_hypotheses=3))
    assert ids_of(found) == [(0, 0), (0, 1), (0, 2)]


def test_a_prefix_is_forced_unedited_and_stays_out_of_the_score():
    model = always(0, 0, 0, 0, 1, 2, 3, 0)
    (found,) = greedy(model, SOURCE, Options(3, prefix=(D, C), suppress_tokens=(D, C), repetition_penalty=2.0))
    plain = torch.tensor([0, 0, 0, 0, 1.0, 2, 3, 0]).log_softmax(0).tolist()
    assert found.ids == (D, C, B)
    assert found.log_probabilities[:2] == pytest.approx((plain[D], plain[C]))
    assert found.score == found.log_probabilities[2] / 3


def test_the_end_token_counts_in_the_length_and_in_the_coverage():
    model = follows({}, attention=((0.25, 0.0, 0.75), (0.25, 0.0, 0.5), (0.25, 0.0, 0.75)))
    (found,) = greedy(model, SOURCE, Options(5, length_penalty=2.0, coverage_penalty=3.0, min_length=2, prefix=(C,)))
    assert found.ids == (C, 0, END_ID)
    assert found.score == pytest.approx(sum(found.log_probabilities[1:]) / 9 + 3 * math.log(0.75))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_no_ngram_comes_twice(n):
    model = always(-9, -9, -9, -1, 3, 2.5, 2, 1.5)
    for search in (greedy, beam):
        (found,) = search(model, SOURCE, Options(12, beam_size=3, no_repeat_ngram_size=n, prefix=(A,)))
        ngrams = [found.ids[start : start + n] for start in range(len(found.ids) - n + 1)]
        assert len(set(ngrams)) == len(ngrams)
        assert len(found.ids) > 4
    assert greedy(model, SOURCE, Options(7, no_repeat_ngram_size=2))[0].ids == (A, A, B, A, C, A, D)


def test_a_target_has_neither_suppressed_tokens_nor_an_early_end():
    model = always(0, 7, 0, 9, 8, 1, 0, 0)
    assert greedy(model, SOURCE, Options(5, min_length=2))[0].ids == (A, A, END_ID)
    assert greedy(model, SOURCE, Options(5, min_length=1, suppress_tokens=(A,)))[0].ids == (UNKNOWN_ID, END_ID)
    (found,) = greedy(model, SOURCE, Options(2, min_length=1, suppress_tokens=(A,), disable_unknown=True))
    assert found.ids == (B, END_ID)
    of_all = torch.tensor([0.0, 7, 0, 9, 8, 1, 0, 0]).log_softmax(0)
    assert found.log_probabilities == pytest.approx(of_all[[B, END_ID]].tolist())


def test_a_repeated_token_is_penalised_once_whatever_the_sign_of_its_logit():
    model = always(-50, -50, -50, -50, 4, 3, -1, -50)
    (found,) = greedy(model, SOURCE, Options(4, repetition_penalty=2.0, prefix=(A, A, C), num_candidates=3))
    assert found.ids[-1] == B
    edited = torch.tensor([2.0, 3, -2]).log_softmax(0).tolist()
    assert dict(found.candidates[3]) == pytest.approx({A: edited[0], B: edited[1], C: edited[2]}, abs=1e-6)
    assert [candidate.token_id for candidate in found.candidates[0]] == [A, B, C]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, {A: 0.4, B: 0.3, C: 0.2, D: 0.1}),
        ({"temperature": 0.5}, {A: 16 / 30, B: 9 / 30, C: 4 / 30, D: 1 / 30}),
        ({"top_k": 3}, {A: 4 / 9, B: 3 / 9, C: 2 / 9}),
        ({"top_p": 0.65}, {A: 4 / 7, B: 3 / 7}),
        ({"top_p": 0.3}, {A: 1.0}),
        ({"min_p": 0.45}, {A: 4 / 9, B: 3 / 9, C: 2 / 9}),
        ({"top_k": 2, "top_p": 0.55}, {A: 1.0}),
        ({"temperature": 0.5, "min_p": 0.3}, {A: 16 / 25, B: 9 / 25}),
        ({"top_p": 0.95, "suppress_tokens": (D,)}, {A: 4 / 9, B: 3 / 9, C: 2 / 9}),
    ],
)
def test_tokens_are_drawn_in_proportion_from_what_the_filters_leave(filters, expected):
    model = follows({(): {A: 0.4, B: 0.3, C: 0.2, D: 0.1}})
    found = sample(model, SOURCE, Options(1, num_hypotheses=300, **filters), lambda *key: (key[1] + 0.5) / 300)
    counts = Counter(h.ids[0] for h in found)
    assert counts.keys() == expected.keys()
    assert all(abs(counts[token] / 300 - share) < 2 / 300 for token, share in expected.items())
    assert ids_of(found) == sorted(ids_of(found))
    assert found[0].log_probability == pytest.approx(math.log(0.4), abs=1e-6)


def test_each_free_token_asks_for_its_own_number():
    asked = []
    options = Options(4, num_hypotheses=2, seed=9, prefix=(A,), min_length=3)
    sample(follows({}), SOURCE, options, lambda *key: asked.append(key) or 0.0)
    assert asked == [(9, 0, 1), (9, 0, 2), (9, 0, 3), (9, 1, 1), (9, 1, 2), (9, 1, 3)]


def test_alternatives_differ_in_the_first_token_after_the_prefix():
    after = {(D,): {END_ID: 0.5, B: 0.3, A: 0.15, C: 0.05}, (D, A): {C: 0.9, END_ID: 0.1}}
    found = alternatives(follows(after), SOURCE, Options(6, num_hypotheses=3, prefix=(D,)))
    assert ids_of(found) == [(D, B, END_ID), (D, A, C, END_ID), (D, C, END_ID)]
    assert found[1].score == pytest.approx((math.log(0.15) + math.log(0.9)) / 4, abs=1e-6)
    for probability, num_left in ((0.1, 2), (1.0, 1)):
        options = Options(2, num_hypotheses=3, prefix=(D,), min_alternative_expansion_prob=probability)
        assert ids_of(alternatives(follows(after), SOURCE, options)) == [(D, B), (D, A)][:num_left]


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_what_greedy_search_reports_is_what_scoring_finds(kind):
    model = random_model(kind, 12)
    (found,) = greedy(model, SOURCE, Options(8, suppress_tokens=(END_ID,)))
    assert found.finish_reason == "max_length"
    assert score(model, SOURCE, found.ids)[:8] == pytest.approx(found.log_probabilities)
    (plain,) = greedy(model, SOURCE, Options(8, num_candidates=1))
    assert score(model, SOURCE, plain.ids)[:-1] == pytest.approx([step[0].log_probability for step in plain.candidates])


def test_the_attention_of_a_token_is_that_of_the_step_which_predicts_it():
    model, ids = random_model("transformer", 12), (A, 11, B, B, 9)
    read = torch.tensor([SOURCE]), torch.tensor([3]), torch.tensor([[BEGIN_ID, *ids[:-1]]])
    heads = model.cross_attention_weights(*read)[0, 0].detach()
    assert torch.allclose(torch.tensor(attention_rows(model, SOURCE, ids)), heads.mean(0), atol=1e-6)


def test_a_term_is_reported_where_it_is_complete_first():
    model = follows({(): {A: 0.9}, (A,): {B: 0.9}, (A, B): {C: 0.9}, (A, B, C): {B: 0.9}})
    (found,) = constrained_beam(model, SOURCE, Options(9, beam_size=2, terms=(((B,),), ((C, B), (B, C)), ((A, B),))))
    assert found.ids == (A, B, C, B, END_ID)
    assert found.term_matches == (TermMatch(0, 1, 2), TermMatch(1, 1, 3), TermMatch(0, 0, 2))
