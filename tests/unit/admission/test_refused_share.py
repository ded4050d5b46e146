from __future__ import annotations

from service.admission.refused_share import EVIDENCE, HALF_LIFE_S, RefusedShare


def count(share: RefusedShare, outcomes: str, now: float = 0.0) -> None:
    """`r` for a request that was refused, anything else for one that was let in."""
    for outcome in outcomes:
        share.count(is_refused=outcome == "r", now=now)


def test_too_few_requests_say_nothing() -> None:
    share = RefusedShare()
    assert share.value == 0
    count(share, "r" * (int(EVIDENCE) - 1))
    assert share.value == 0
    count(share, "r")
    assert share.value == 1


def test_the_share_is_that_of_the_requests_lately() -> None:
    share = RefusedShare()
    count(share, "r..." * 4)
    assert share.value == 0.25
    count(share, "." * 16, now=10 * HALF_LIFE_S)
    assert share.value < 0.01
