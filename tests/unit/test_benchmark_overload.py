"""What the section on overload makes of the outcomes of its requests."""

from __future__ import annotations

import pytest

from benchmarks.offered import Outcome
from benchmarks.sections.overload import LOADS, PHASE_S, WINDOW_S, Round, goodput, kept, recovery_s


def outcome(due: float, took: float = 0.1, code: str = "OK") -> Outcome:
    return Outcome(due, 0.0, took, code)


def test_goodput_counts_what_was_done() -> None:
    outcomes = [outcome(1.0), outcome(2.0), outcome(3.0, code="RESOURCE_EXHAUSTED")]
    assert goodput(outcomes) == pytest.approx(2 / PHASE_S)


def one_round(*done: int) -> Round:
    """So many requests were done at each load."""
    return Round(1.0, {share: [outcome(1.0)] * number for share, number in zip(LOADS, done, strict=True)}, [])


def test_what_is_kept_is_told_by_the_rounds_middle_and_not_by_each_ones_fastest_load() -> None:
    drifting = [one_round(5, 9, 10, 10, 13, 10), one_round(5, 9, 10, 13, 10, 10), one_round(5, 12, 10, 10, 10, 10)]
    assert kept(drifting) == pytest.approx(1.0)
    worse = [one_round(5, 9, 10, 10, 10, 8), one_round(5, 9, 20, 20, 20, 16), one_round(5, 9, 10, 10, 10, 2)]
    assert kept(worse) == pytest.approx(0.8)


@pytest.mark.parametrize("amiss", [outcome(0.7, took=0.2), outcome(0.7, code="RESOURCE_EXHAUSTED")])
def test_a_server_has_recovered_when_a_window_is_as_ever(amiss: Outcome) -> None:
    as_ever = [outcome(0.1 * i) for i in range(10 * int(PHASE_S))]
    assert recovery_s(as_ever, normal_s=0.1) == 0.0
    late = [outcome(0.1, took=0.5), outcome(0.2, code="RESOURCE_EXHAUSTED"), amiss, *as_ever]
    assert recovery_s(late, normal_s=0.1) == 2 * WINDOW_S
    never = [outcome(one.due, took=0.5) for one in as_ever]
    assert recovery_s(never, normal_s=0.1) == PHASE_S
