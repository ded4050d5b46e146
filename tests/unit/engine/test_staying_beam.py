"""Beam search whose ended hypotheses stay, against the loop that small decoders have: one array of k places."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.engine.decoding.make import make_search
from service.engine.decoding.search import StepRow
from service.engine.decoding.staying import StayingBeamSearch
from service.engine.request import Decoding, Request
from service.model.row import Row

SIZE, END, MAX_LENGTH = 6, 1, 5


def scores_after(seed: int, target: tuple[int, ...]) -> np.ndarray:
    logits = np.random.default_rng([seed, *target]).normal(scale=2.0, size=SIZE)
    return (logits - math.log(np.exp(logits).sum())).astype(np.float32)


def plain(seed: int, size: int) -> list[tuple[tuple[int, ...], float]]:
    """The hypotheses at the end and their mean log-probabilities, best first."""
    places: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    for _ in range(MAX_LENGTH):
        following = []
        for target, total in places:
            if target[-1:] == (END,):
                following.append((target, total))
                continue
            scores = scores_after(seed, target)
            following += [((*target, token), total + float(scores[token])) for token in range(SIZE)]
        places = sorted(following, key=lambda one: -one[1])[:size]
        if all(target[-1] == END for target, _ in places):
            break
    return sorted(((target, total / len(target)) for target, total in places), key=lambda one: -one[1])


@given(st.integers(0, 2**31), st.integers(2, 4))
def test_the_hypotheses_are_those_of_the_plain_loop_and_what_is_settled_stays(seed: int, size: int) -> None:
    decoding = Decoding(max_length=MAX_LENGTH, beam_size=size, num_hypotheses=size)
    search = make_search(Request(1, (9, END), decoding), end_id=END, beam_search=StayingBeamSearch)
    rows: list[tuple[int, ...]] = [()]
    settled: list[int] = []
    while True:
        steps = []
        for target in rows:
            scores = scores_after(seed, target)
            order = np.argsort(-scores, kind="stable").tolist()
            steps.append(StepRow(Row(order, scores[order].tolist(), scores), []))
        advance = search.advance(steps)
        settled += [token.token_id for token in advance.settled]
        if advance.hypotheses:
            break
        rows = [(*rows[parent], token) for parent, token in zip(advance.parents, advance.token_ids, strict=True)]
    found = [(tuple(token.token_id for token in one.tokens), one.score) for one in advance.hypotheses]
    wanted = plain(seed, size)
    assert [target for target, _ in found] == [target for target, _ in wanted]
    np.testing.assert_allclose([score for _, score in found], [score for _, score in wanted], rtol=1e-6)
    assert tuple(settled) == found[0][0]
