"""Scores of foreign graphs become log-probabilities, and are ranked as ours are."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.model.foreign.groups import groups
from service.model.foreign.ranking import NEVER, best, forbid, log_probabilities
from service.model.foreign.roles import Sharing


@given(st.lists(st.lists(st.integers(-3, 3), min_size=5, max_size=5), min_size=1, max_size=4), st.integers(1, 5))
def test_the_best_come_first_and_of_equal_ones_the_lower_id(rows, count):
    scores = np.array(rows, np.float32)
    ids, values = best(scores, count)
    assert ids.tolist() == [sorted(range(5), key=lambda i, row=row: (-row[i], i))[:count] for row in rows]
    assert values.tolist() == [[row[i] for i in chosen] for row, chosen in zip(rows, ids.tolist(), strict=True)]


def test_logits_are_normalized_and_minus_infinity_counts_as_never():
    scores = log_probabilities(np.array([[1.0, 2.0, -np.inf]], np.float32), are_logits=True)
    np.testing.assert_allclose(np.exp(scores[0, :2]).sum(), 1.0, rtol=1e-6)
    assert scores[0, 2] == NEVER
    given_ones = np.log(np.array([[0.25, 0.75]], np.float32))
    np.testing.assert_array_equal(log_probabilities(given_ones, are_logits=False), given_ones)


def test_what_is_not_a_number_stays_so():
    assert np.isnan(log_probabilities(np.array([[np.nan, 1.0]], np.float32), are_logits=True)).any()


def test_the_end_is_forbidden_before_its_time_and_some_tokens_always():
    scores = np.zeros((2, 4), np.float32)
    forbid(scores, np.array([0, 2]), never=(3,), end_id=1, min_length=2)
    assert (scores == NEVER).tolist() == [[False, True, False, True], [False, False, False, True]]


def test_rows_are_divided_by_what_they_may_not_share():
    lengths, ages = np.array([3, 5, 3, 5]), np.array([0, 0, 1, 0])

    def divided(**sharing):
        return [rows.tolist() for rows in groups(Sharing(**sharing), lengths, ages)]

    assert divided() == [[0, 1, 2, 3]]
    assert divided(rows=False) == [[0], [1], [2], [3]]
    assert divided(lengths=False) == [[0, 2], [1, 3]]
    assert divided(ages=False) == [[0, 1, 3], [2]]
    assert divided(lengths=False, ages=False) == [[0], [1, 3], [2]]
