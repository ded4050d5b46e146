from __future__ import annotations

from service.engine.decoding import make_search
from service.engine.request import FinishReason, Request


def test_greedy_takes_the_best_candidate_until_the_sentence_ends() -> None:
    search = make_search(Request(1, (5, 3), max_length=10), end_id=3)
    first = search.advance([7, 3], [-0.1, -2.0])
    assert (first.token_id, first.log_probability, first.finish_reason) == (7, -0.1, None)
    assert search.advance([3, 7], [-0.2, -2.0]).finish_reason is FinishReason.END_OF_SENTENCE


def test_greedy_stops_at_max_length() -> None:
    search = make_search(Request(1, (5, 3), max_length=2), end_id=3)
    assert search.advance([7], [-0.1]).finish_reason is None
    assert search.advance([8], [-0.1]).finish_reason is FinishReason.MAX_LENGTH


def test_the_end_of_the_sentence_at_max_length_counts_as_the_end_of_the_sentence() -> None:
    search = make_search(Request(1, (5, 3), max_length=1), end_id=3)
    assert search.advance([3], [-0.1]).finish_reason is FinishReason.END_OF_SENTENCE
