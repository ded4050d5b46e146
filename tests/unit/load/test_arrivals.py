"""When the requests of an open loop arrive."""

from __future__ import annotations

import itertools
import statistics

import pytest

from service.client.errors import InvalidRequestError
from service.client.load.arrivals import poisson_arrivals, trace_arrivals


def test_arrivals_are_those_of_a_poisson_process() -> None:
    arrivals = poisson_arrivals(50.0, 400.0, seed=1)
    gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
    assert arrivals == sorted(arrivals)
    assert arrivals[0] > 0.0
    assert arrivals[-1] < 400.0
    assert len(arrivals) == pytest.approx(20_000, rel=0.03)
    assert statistics.stdev(gaps) == pytest.approx(statistics.mean(gaps), rel=0.03)
    assert poisson_arrivals(50.0, 400.0, seed=1) == arrivals
    assert poisson_arrivals(50.0, 400.0, seed=2) != arrivals


def test_a_trace_begins_with_its_earliest_arrival_and_is_played_at_any_speed() -> None:
    assert trace_arrivals(["# recorded", "", "100.5", " 100 ", "104"]) == [0.0, 0.5, 4.0]
    assert trace_arrivals(["100.5", "100", "104"], speed=4.0) == [0.0, 0.125, 1.0]


@pytest.mark.parametrize("line", ["noon", "1,5", "nan", "inf"])
def test_a_line_of_a_trace_that_is_no_time_is_named(line: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"line 2 of the trace is no number of seconds: '{line}'"):
        trace_arrivals(["1", line])


def test_a_trace_without_arrivals_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="no arrivals"):
        trace_arrivals(["# nothing"])
