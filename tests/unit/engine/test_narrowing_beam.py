"""Beam search that narrows, against the plain loop over a beam from which hypotheses that end are taken."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.engine.decoding.make import make_search
from service.engine.decoding.narrowing import NarrowingBeamSearch
from service.engine.decoding.search import StepRow
from service.engine.request import Decoding, Request
from service.model.row import Row

SIZE, END, MAX_LENGTH = 6, 1, 5
Scored = tuple[tuple[int, ...], float]


def scores_after(seed: int, target: tuple[int, ...]) -> np.ndarray:
    logits = np.random.default_rng([seed, *target]).normal(scale=2.0, size=SIZE)
    return (logits - math.log(np.exp(logits).sum())).astype(np.float32)


def plain(seed: int, width: int, penalty: float) -> list[Scored]:
    """All hypotheses at the end with their scores, best first."""
    live: list[Scored] = [((), 0.0)]
    ended: list[Scored] = []
    for length in range(1, MAX_LENGTH + 1):
        following = [
            ((*target, token), total + float(score))
            for target, total in live
            for token, score in enumerate(scores_after(seed, target))
        ]
        best = sorted(following, key=lambda one: -one[1])[:width]
        is_last = length == MAX_LENGTH
        ended += [(target, total / length**penalty) for target, total in best if is_last or target[-1] == END]
        live = [one for one in best if one[0][-1] != END and not is_last]
        if not live:
            break
        width = len(live)
    return sorted(ended, key=lambda one: -one[1])


@given(st.integers(0, 2**31), st.integers(2, 4), st.sampled_from((0.0, 0.6, 1.0)), st.booleans())
def test_the_hypotheses_are_those_of_the_plain_loop_and_what_is_settled_stays(
    seed: int, size: int, penalty: float, one: bool
) -> None:
    number = 1 if one else size
    decoding = Decoding(max_length=MAX_LENGTH, beam_size=size, num_hypotheses=number, length_penalty=penalty)
    search = make_search(Request(1, (9, END), decoding), end_id=END, beam_search=NarrowingBeamSearch)
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
    wanted = plain(seed, size, penalty)[:number]
    assert [target for target, _ in found] == [target for target, _ in wanted]
    np.testing.assert_allclose([score for _, score in found], [score for _, score in wanted], rtol=1e-6)
    assert tuple(settled) == found[0][0]
