"""What the report computes from measurements: no clock runs here."""

import argparse
import json

import pytest

from benchmarks.__main__ import section_names
from benchmarks.figures import at_least, at_most, median_ratio, percentile
from benchmarks.kernels import Best, Limits, parse
from benchmarks.load import Answer, Window
from benchmarks.profiling import Operator, Profile, summarize
from benchmarks.sections import SECTIONS


def test_a_percentile_is_the_nearest_rank():
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.0, 0.01, 0.5, 0.99, 0.999, 1.0)] == [1, 1, 50, 99, 100, 100]
    assert percentile([7.0], 0.99) == 7.0
    assert percentile([1.0, 2.0], 0.5) == 1.0
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_a_goal_that_is_missed_says_so():
    assert at_least(1.5, 1.5, " x") == "at least 1.5 x: reached"
    assert at_least(1.49, 1.5) == "at least 1.5: MISSED"
    assert at_most(2.0, 2, " steps") == "at most 2 steps: reached"
    assert at_most(2.01, 2) == "at most 2: MISSED"


def test_a_ratio_is_the_median_of_the_rounds_ratios():
    assert median_ratio([1.0, 4.0, 9.0], [1.0, 2.0, 3.0]) == 2.0


def test_a_window_counts_what_happened_inside_of_it():
    before = Answer(0.0, [0.5, 1.5], completed_at=1.5, num_tokens=2)
    inside = Answer(1.0, [1.2, 1.3, 1.7], completed_at=1.7, num_tokens=3)
    after = Answer(1.5, [2.5])
    unary = Answer(1.0, completed_at=1.8, num_tokens=24)
    waiting = Answer(1.9)
    streamed = Window(1.0, 2.0, [before, inside, after, waiting])
    assert streamed.tokens_per_second == 4.0
    assert streamed.requests_per_second == 2.0
    assert streamed.first_token_seconds() == pytest.approx([0.2])
    assert streamed.seconds_between_tokens() == pytest.approx([0.1, 0.4])
    assert Window(1.0, 2.0, [unary, waiting]).tokens_per_second == 24.0
    assert Window(1.0, 2.0, [unary, waiting]).whole_seconds() == pytest.approx([0.8])


def node(kind, microseconds):
    return {"cat": "Node", "name": f"{kind}_kernel_time", "dur": microseconds, "args": {"op_name": kind}}


def test_a_profile_is_the_median_of_the_runs_after_the_first():
    end = {"cat": "Session", "name": "model_run", "dur": 0}
    runs = [[node("Add", 900), node("Add", 900), node("MatMul", 900)]]
    runs += [[node("Add", first), node("Add", 3), node("MatMul", last)] for first, last in ((3, 10), (5, 30), (7, 20))]
    events = [{"cat": "Session", "name": "model_loading", "dur": 5}]
    for run in runs:
        events += [*run, {"cat": "Node", "name": "fence_before", "dur": 1}, end]
    profile = summarize(events)
    assert profile == Profile((Operator("Add", 2, 8), Operator("MatMul", 1, 20)))
    assert profile.node_overhead == 4.0
    assert [profile.net(operator) for operator in profile.operators] == [0.0, 16.0]


def test_the_line_of_the_kernels_process_is_read():
    best = {"rate": 2.5e10, "kernel": "one"}
    line = json.dumps({"read": best, "read_large": best, "operations": best})
    assert parse(line) == Limits(*[Best(2.5e10, "one")] * 3)


def test_only_sections_that_exist_are_chosen():
    assert section_names("steps,server") == ["steps", "server"]
    assert section_names(",".join(SECTIONS)) == list(SECTIONS)
    with pytest.raises(argparse.ArgumentTypeError, match="no section stops"):
        section_names("steps,stops")
