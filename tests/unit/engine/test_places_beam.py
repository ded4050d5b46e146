"""Beam search in which what has ended keeps its place and goes on, against JoeyNMT's loop, written down once more with
arrays in the manner of joeynmt.search.beam_search."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.engine.decoding.make import make_search
from service.engine.decoding.places import PlacesBeamSearch
from service.engine.decoding.search import StepRow
from service.engine.request import Decoding, FinishReason, Request
from service.model.row import Row

SIZE, END, MAX_LENGTH = 6, 1, 6


def scores_after(seed: int, target: tuple[int, ...]) -> np.ndarray:
    logits = np.random.default_rng([seed, *target]).normal(scale=2.0, size=SIZE)
    return (logits - math.log(np.exp(logits).sum())).astype(np.float32)


def plain(seed: int, size: int, alpha: float) -> list[tuple[tuple[int, ...], float]]:
    """The hypotheses and their scores, best first."""
    alive: list[tuple[int, ...]] = [()]
    totals = np.zeros(1)
    has_ended = np.zeros(size, dtype=bool)
    hypotheses = []
    for step in range(MAX_LENGTH):
        penalty = ((5.0 + step + 1) / 6.0) ** alpha
        every = np.stack([scores_after(seed, target) for target in alive]).astype(np.float64)
        scores = ((every + totals[:, None]) / penalty).ravel()
        best = np.argsort(-scores, kind="stable")[:size]
        totals = scores[best] * penalty
        alive = [(*alive[place // SIZE], int(place % SIZE)) for place in best]
        has_ended |= [target[-1] == END for target in alive]
        is_last = step + 1 == MAX_LENGTH
        for target, score in zip(alive, scores[best], strict=True):
            is_first_end = target.index(END) == step if END in target else is_last
            if is_first_end:
                hypotheses.append((target, float(score)))
        if has_ended.all() or is_last:
            break
    return sorted(hypotheses, key=lambda one: -one[1])[:size]


@given(st.integers(0, 2**31), st.integers(2, 4), st.sampled_from([0.0, 0.6, 1.0, 2.0]))
def test_the_hypotheses_are_those_of_the_plain_loop_and_what_is_settled_stays(
    seed: int, size: int, alpha: float
) -> None:
    decoding = Decoding(
        max_length=MAX_LENGTH,
        beam_size=size,
        num_hypotheses=size,
        length_penalty=alpha,
        length_norm="gnmt",
        beam_end="places",
    )
    search = make_search(Request(1, (9, END), decoding), end_id=END, beam_search=PlacesBeamSearch)
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
        assert END not in [token.token_id for token in advance.tentative]
        if advance.hypotheses:
            break
        rows = [(*rows[parent], token) for parent, token in zip(advance.parents, advance.token_ids, strict=True)]
    found = [(tuple(token.token_id for token in one.tokens), one.score) for one in advance.hypotheses]
    wanted = plain(seed, size, alpha)
    assert [target for target, _ in found] == [target for target, _ in wanted]
    np.testing.assert_allclose([score for _, score in found], [score for _, score in wanted], rtol=1e-5)
    assert tuple(settled) == found[0][0]
    for one in advance.hypotheses:
        assert (one.finish_reason is FinishReason.END_OF_SENTENCE) == (one.tokens[-1].token_id == END)
