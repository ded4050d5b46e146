"""A queue that stands is told from a burst's."""

from __future__ import annotations

from service.admission.standing import Standing


def test_a_queue_stands_once_it_has_not_been_empty_for_longer_than_a_burst() -> None:
    standing = Standing(burst_s=0.25, pause_s=1.0)
    assert not standing.is_so(0.0)
    standing.filled(10.0)
    assert not standing.is_so(10.25)
    assert standing.is_so(10.3)


def test_a_short_pause_does_not_end_it_and_a_long_one_does() -> None:
    standing = Standing(burst_s=0.25, pause_s=1.0)
    standing.filled(10.0)
    standing.emptied(11.0)
    assert standing.is_so(11.9)
    standing.filled(11.9)
    assert standing.is_so(11.9)
    standing.emptied(12.0)
    assert not standing.is_so(13.0)
    standing.filled(13.1)
    assert not standing.is_so(13.1)
    assert standing.is_so(13.4)


def test_a_queue_that_was_hardly_there_does_not_stand() -> None:
    standing = Standing(burst_s=0.25, pause_s=1.0)
    standing.filled(10.0)
    standing.emptied(10.1)
    assert not standing.is_so(10.2)
