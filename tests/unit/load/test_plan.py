"""Which stages a load has, and where a ramp finds the knee."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.client.load.fleet import Played
from service.client.load.plan import Plan, find_knee, plan
from service.client.load.report import Results, warnings_of
from service.client.load.scenario import Closed, Poisson, Ramp, Scenario, Targets, Trace
from service.client.load.stage import Stage
from service.client.load.tally import OK, Outcome, Tally


def play(stages: Plan, knee: float) -> list[Played]:
    """On a server that answers up to `knee` requests a second well, and of more only the half."""
    played: list[Played] = []
    stage = next(stages)
    while True:
        tally = Tally()
        assert stage.rate is not None
        for number in range(10):
            is_ok = stage.rate <= knee or number % 2 == 0
            tally.record(Outcome(0, 0.0, 0.0, ended_at=0.1, status=OK if is_ok else "UNAVAILABLE"), Targets())
        played.append(Played(stage, tally, ()))
        try:
            stage = stages.send(played[-1])
        except StopIteration:
            return played


@pytest.mark.parametrize("knee", [12.0, 100.0, 333.0])
def test_a_ramp_goes_past_the_knee_and_then_closes_in_on_it(knee: float) -> None:
    load = Ramp(kind="ramp", start_rate=10, growth=2, refinements=6)
    played = play(plan(load, seed=0), knee)
    rates = [one.stage.rate for one in played]
    rising = [rate for rate in (10, 20, 40, 80, 160, 320, 640) if rate / 2 <= knee]
    assert rates[: len(rising)] == rising
    assert len(rates) == len(rising) + 6
    found = find_knee(played, load)
    assert found is not None
    assert found.stage.rate == pytest.approx(knee, rel=0.06)
    assert found.stage.rate <= knee
    assert find_knee(played[::-1], load) == found


def test_where_no_rate_holds_there_is_no_knee_and_where_all_do_it_is_said_that_it_lies_above() -> None:
    load = Ramp(kind="ramp", start_rate=10, growth=2, max_rate=50, refinements=2)
    nothing, everything = Results(Scenario(load=load), ["m"]), Results(Scenario(load=load), ["m"])
    nothing.played = play(plan(load, seed=0), knee=1.0)
    everything.played = play(plan(load, seed=0), knee=1e9)
    assert nothing.knee is None
    assert any("no rate held" in warning for warning in warnings_of(nothing))
    assert [one.stage.rate for one in everything.played] == [10, 20, 40]
    assert any("the knee is above the last one" in warning for warning in warnings_of(everything))


def test_a_rate_that_held_above_one_that_did_not_is_no_knee() -> None:
    load = Ramp(kind="ramp")
    slower = Ramp(kind="ramp", start_rate=5)
    held, failed = play(plan(load, seed=0), knee=1e9)[:2], play(plan(slower, seed=0), knee=0.0)[:1]
    assert find_knee([*held, *failed], load) is None


def test_the_other_loads_are_one_stage(tmp_path: Path) -> None:
    (closed,) = plan(Closed(clients=5, duration_s=4, warm_up_s=1), seed=0)
    assert (closed.num_clients, closed.duration_s, closed.counted_s, closed.rate) == (5, 5, 4, None)
    (poisson,) = plan(Poisson(kind="poisson", rate=100, duration_s=10, warm_up_s=2), seed=0)
    assert (poisson.duration_s, poisson.warm_up_s, poisson.rate) == (12, 2, 100)
    assert len(poisson.arrivals) == pytest.approx(1_200, rel=0.1)
    (tmp_path / "trace").write_text("5\n6\n9\n")
    (trace,) = plan(Trace(kind="trace", file=tmp_path / "trace", speed=2), seed=0)
    assert (trace.arrivals, trace.duration_s, trace.rate) == ((0.0, 0.5, 2.0), 2.0, 1.5)


def test_processes_share_a_stage_without_losing_a_request() -> None:
    stage = Stage("any", 10.0, 1.0, arrivals=tuple(map(float, range(11))), num_clients=7)
    shares = [stage.share(number, 3) for number in range(3)]
    assert sorted(at for share in shares for at in share.arrivals) == list(stage.arrivals)
    assert [share.num_clients for share in shares] == [3, 2, 2]
    assert {(share.duration_s, share.warm_up_s) for share in shares} == {(10.0, 1.0)}
