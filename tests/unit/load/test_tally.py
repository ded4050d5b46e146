"""What is counted of requests, and what a histogram of durations tells."""

from __future__ import annotations

import pickle

import pytest

from service.client.load.latencies import Latencies
from service.client.load.moment import moment_of
from service.client.load.scenario import Targets
from service.client.load.tally import MOST_DIFFERENCES, OK, Outcome, Second, Tally

ANYTHING = Targets()


def answered(*arrivals: float, due: float = 10.0, late: float = 0.0, ended: float | None = None) -> Outcome:
    return Outcome(0, due, due + late, list(arrivals), ended or arrivals[-1], OK)


def test_percentiles_have_three_digits_over_six_orders_of_magnitude() -> None:
    latencies = Latencies()
    for microseconds in range(1, 1_000_001):
        latencies.record(microseconds / 1e6)
    for percent in (0.01, 1, 50, 90, 99, 99.9, 99.99):
        assert latencies.percentile_ms(percent) == pytest.approx(percent * 10, rel=2e-3)
    assert latencies.summary()["count"] == 1_000_000
    assert latencies.summary()["mean"] == pytest.approx(500, rel=2e-3)
    assert latencies.summary()["max"] == pytest.approx(1_000, rel=2e-3)


def test_durations_of_several_processes_are_put_together_exactly() -> None:
    whole, parts = Latencies(), [Latencies() for _ in range(3)]
    for number in range(3_000):
        whole.record(number / 1e3)
        parts[number % 3].record(number / 1e3)
    merged = Latencies()
    for part in parts:
        merged.add(pickle.loads(pickle.dumps(part)))
    assert merged.summary() == whole.summary()
    assert merged.distribution() == whole.distribution()


def test_what_no_histogram_holds_counts_at_its_edge_and_nothing_counts_as_nothing() -> None:
    latencies = Latencies()
    assert (latencies.summary(), latencies.percentile_ms(50), latencies.distribution()) == ({"count": 0}, 0.0, [])
    latencies.record(-1.0)
    latencies.record(1e9)
    assert latencies.summary()["max"] == pytest.approx(3_600_000, rel=1e-3)
    assert latencies.percentile_ms(1) == 0.001


def test_a_request_that_was_sent_late_has_waited_for_that_too() -> None:
    outcome = answered(12.0, 12.5, 13.5, due=10.0, late=1.5)
    assert (outcome.first_token_s, outcome.total_s, outcome.mean_gap_s) == (2.0, 3.5, 0.75)
    tally = Tally()
    tally.record(outcome, ANYTHING)
    assert tally.lateness.percentile_ms(50) == pytest.approx(1_500, rel=1e-3)
    assert tally.first_token.percentile_ms(50) == pytest.approx(2_000, rel=1e-3)
    assert tally.gaps.summary()["count"] == 2
    assert tally.gaps.summary()["max"] == pytest.approx(1_000, rel=1e-3)


@pytest.mark.parametrize(
    ("targets", "is_good"),
    [
        ({}, True),
        ({"first_token_ms": 2_000, "gap_ms": 750, "total_ms": 3_500}, True),
        ({"first_token_ms": 1_999}, False),
        ({"gap_ms": 749}, False),
        ({"total_ms": 3_499}, False),
    ],
)
def test_goodput_counts_what_is_within_every_target(targets: dict[str, float], is_good: bool) -> None:
    assert answered(12.0, 12.5, 13.5).is_good(Targets(**targets)) is is_good


def test_what_was_not_answered_is_never_good() -> None:
    refused = Outcome(0, 1.0, 1.0, ended_at=1.001, status="RESOURCE_EXHAUSTED", is_refused=True, pushback_s=0.25)
    tally = Tally()
    for outcome in (refused, Outcome(1, 1.0, 1.0, ended_at=2.0, status="INTERNAL"), answered(12.0)):
        tally.record(outcome, ANYTHING)
    assert (tally.num_sent, tally.num_ok, tally.num_good, tally.num_refused, tally.num_failed) == (3, 1, 1, 1, 1)
    assert tally.statuses == {"OK": 1, "RESOURCE_EXHAUSTED": 1, "INTERNAL": 1}
    assert tally.by_job == {0: 2, 1: 1}
    assert tally.pushback.percentile_ms(50) == pytest.approx(250, rel=1e-3)
    assert len(tally.total) == 1


def test_every_difference_is_counted_and_some_are_kept() -> None:
    tally, other = Tally(), Tally()
    for number in range(2 * MOST_DIFFERENCES):
        for one in (tally, other):
            one.verify(Outcome(0, 0.0, is_verified=True, difference=f"other {number}"))
            one.verify(Outcome(0, 0.0, is_verified=True))
    tally.add(pickle.loads(pickle.dumps(other)))
    assert (tally.num_verified, tally.num_different) == (8 * MOST_DIFFERENCES, 4 * MOST_DIFFERENCES)
    assert tally.differences == [f"other {number}" for number in range(MOST_DIFFERENCES)]


def test_the_same_second_of_two_processes_is_one_moment() -> None:
    seconds = [Second(3, num_due=2, num_tokens=5, num_running=1) for _ in range(2)]
    for second in seconds:
        second.end(answered(11.0, due=10.0), ANYTHING)
        second.end(Outcome(0, 10.0, 10.0, ended_at=10.1, status="UNAVAILABLE"), ANYTHING)
    moment = moment_of(seconds)
    assert (moment.second, moment.due, moment.tokens, moment.running) == (3, 4, 10, 2)
    assert (moment.ok, moment.good, moment.failed, moment.refused) == (2, 2, 2, 0)
    assert moment.total_p50_ms == pytest.approx(1_000, rel=1e-3)
