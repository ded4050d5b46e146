"""What the capacity model is made of: arrivals, fits, percentiles, and its commands."""

from __future__ import annotations

import itertools
import json
import random
import statistics
from pathlib import Path

import pytest

from benchmarks.capacity import __main__ as commands
from benchmarks.capacity import plans
from benchmarks.capacity.__main__ import main
from benchmarks.capacity.arrivals import Arrival, Bursts, bursty, multiplied, poisson, recorded
from benchmarks.capacity.costs import Costs, EncodeCost, ServingCost, StepCost, read_costs, write_costs
from benchmarks.capacity.fitting import fit
from benchmarks.capacity.meter import Durations

SIZES = ((10, 12), (20, 30))
COSTS = Costs(
    model="some-model",
    machine="machine",
    length_multiple=16,
    step=StepCost(fixed=2e-4, row=2e-5, age=1e-6, source=3e-7),
    encode=EncodeCost(fixed=3e-4, token=5e-6, pair=1e-8),
    serving=ServingCost(step=2e-4, token=1e-4, request=5e-4),
    client=ServingCost(step=5e-5, token=3e-5, request=2e-4),
    sizes=SIZES,
)


@pytest.fixture
def costs_file(tmp_path: Path) -> Path:
    path = tmp_path / "costs.json"
    write_costs(path, COSTS)
    return path


def logged(at: str, total_ms: float, code: str = "OK", target: int = 9) -> str:
    """A line as a server writes it for a call that ended then."""
    return json.dumps(
        {"event": "call", "timestamp": at, "code": code, "total_ms": total_ms, "num_source_tokens": 7}
        | {"num_target_tokens": target}
    )


def test_poisson_arrivals_have_their_rate_and_exponential_gaps() -> None:
    arrivals = list(poisson(200.0, 100.0, SIZES, seed=1))
    gaps = [later.at - earlier.at for earlier, later in itertools.pairwise(arrivals)]
    assert len(arrivals) == pytest.approx(20_000, rel=0.03)
    assert statistics.stdev(gaps) == pytest.approx(statistics.mean(gaps), rel=0.05)
    assert {(one.source, one.target) for one in arrivals} == set(SIZES)
    assert all(0 <= one.at < 100 for one in arrivals)


def test_bursts_keep_the_mean_rate_and_bring_many_at_once() -> None:
    def spread(bursts: Bursts) -> float:
        arrivals = list(bursty(100.0, 400.0, SIZES, bursts, seed=2))
        assert len(arrivals) == pytest.approx(40_000, rel=0.1)
        counts = [0] * 400
        for one in arrivals:
            counts[int(one.at)] += 1
        return statistics.variance(counts) / statistics.mean(counts)

    assert spread(Bursts(factor=1.0)) == pytest.approx(1.0, abs=0.25)
    assert spread(Bursts(factor=4.0, share=0.2, mean_s=0.5)) > 10


def test_a_recording_is_what_a_server_logged_from_the_first_call_on(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    lines = (
        logged("2026-11-25T10:00:02.000000Z", 500.0),
        '{"event": "model loaded", "timestamp": "2026-11-25T09:00:00.000000Z"}',
        logged("2026-11-25T10:00:01.500000Z", 1_000.0, target=4),
        logged("2026-11-25T10:00:01.600000Z", 1.0, code="RESOURCE_EXHAUSTED", target=0),
    )
    path.write_text("\n".join(lines))
    assert recorded(path, SIZES) == [Arrival(0.0, 7, 4), Arrival(1.0, 7, 9)]
    assert recorded(path, SIZES, speed=4.0)[1] == Arrival(0.25, 7, 9)


def test_a_recording_may_be_a_table(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("at_s,source_tokens,target_tokens\n5,3,4\n4.5,1,2\n")
    assert recorded(path, SIZES) == [Arrival(0.0, 1, 2), Arrival(0.5, 3, 4)]
    path.write_text("at_s\n5\n4.5\n")
    found = recorded(path, SIZES)
    assert [arrival.at for arrival in found] == [0.0, 0.5]
    assert all((arrival.source, arrival.target) in SIZES for arrival in found)


def test_a_recording_is_multiplied_in_the_same_time_and_keeps_its_rush() -> None:
    arrivals = [Arrival(at, 7, 9) for at in (*range(10), *(10 + place / 50 for place in range(100)), *range(12, 20))]
    few, many = multiplied(arrivals, 0.5, seed=1), multiplied(arrivals, 20.0, seed=1)
    assert set(few) < set(arrivals)
    assert len(few) == pytest.approx(len(arrivals) / 2, rel=0.25)
    assert len(many) == pytest.approx(20 * len(arrivals), rel=0.1)
    assert many == sorted(many)
    assert 0 <= many[0].at <= many[-1].at < 19
    in_rush = sum(10 <= one.at < 12 for one in many)
    assert in_rush == pytest.approx(20 * sum(10 <= one.at < 12 for one in arrivals), rel=0.1)


def test_a_recording_of_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.log"
    path.write_text("")
    with pytest.raises(ValueError, match="has no requests"):
        recorded(path, SIZES)


def test_a_fit_finds_what_the_measurements_were_made_of() -> None:
    terms = [(1.0, rows, rows * age) for rows in (1, 4, 16) for age in (1, 10, 50)]
    found = fit(terms, [0.5 + 0.25 * rows + 0.125 * more for _, rows, more in terms])
    assert found.coefficients == pytest.approx((0.5, 0.25, 0.125))
    assert found.worst_error < 1e-9


def test_no_part_of_a_fit_is_negative() -> None:
    terms = [(1.0, float(rows)) for rows in range(1, 9)]
    found = fit(terms, [10.0 - rows for _, rows in terms])
    assert found.coefficients[1] == 0.0
    assert found.coefficients[0] > 0
    assert found.typical_error < found.worst_error


def test_a_percentile_is_right_to_a_bin() -> None:
    durations, chance = Durations(), random.Random(3)
    values = sorted(chance.lognormvariate(-5, 1) for _ in range(5_000))
    for value in values:
        durations.add(value)
    for share in (0.01, 0.5, 0.99):
        assert durations.percentile(share) == pytest.approx(values[int(share * 5_000)], rel=0.03)
    durations.add(1.0, weight=20_000)
    assert len(durations) == 25_000
    assert durations.percentile(0.5) == pytest.approx(1.0, rel=0.02)


def test_costs_are_read_as_they_were_written(costs_file: Path) -> None:
    assert read_costs(costs_file) == COSTS
    costs_file.write_text("{}")
    with pytest.raises(ValueError, match="machine"):
        read_costs(costs_file)


def test_simulate_says_what_so_many_replicas_give(costs_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load = ("--rate", "100", "--seconds", "3", "--replicas", "4")
    assert main(["simulate", "--costs", str(costs_file), *load]) == 0
    output = capsys.readouterr().out
    assert "some-model, 100 requests/s, Poisson: 4 replicas, two-choices" in output
    assert "100 %: kept" not in output
    assert "good at least 99%: kept" in output
    assert "| first token, p99 ms" in output


def test_simulate_finds_the_replicas_of_a_recording(
    costs_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "trace.csv"
    rows = (f"{one.at},{one.source},{one.target}" for one in poisson(300.0, 3.0, SIZES, seed=4))
    trace.write_text("\n".join(("at_s,source_tokens,target_tokens", *rows)))
    assert main(["simulate", "--costs", str(costs_file), "--trace", str(trace), "--first-token-ms", "30"]) == 0
    output = capsys.readouterr().out
    assert "trace: " in output
    assert ": kept" in output


@pytest.mark.parametrize(
    "wrong",
    [
        (),
        ("--rate", "1", "--trace", "x.csv"),
        ("--rate", "5", "--first-token-ms", "0.1"),
        ("--rate", "5", "--burst-factor", "4"),
    ],
)
def test_what_cannot_be_answered_is_said(
    wrong: tuple[str, ...], costs_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["simulate", "--costs", str(costs_file), "--seconds", "2", *wrong])
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_a_plan_says_the_replicas_of_every_load_and_what_samples_say_of_more(
    costs_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "BURSTS", Bursts(factor=8.0, share=0.3, mean_s=0.06))
    monkeypatch.setattr(commands, "PLANNED_S", 1.2)
    monkeypatch.setattr(plans, "SIZES", (2, 20))
    monkeypatch.setattr(plans, "CELL", 4)
    monkeypatch.setattr(plans, "SAMPLES", (1, 4))
    assert main(["plan", "--costs", str(costs_file), "--first-token-ms", "60", "--speed", "30"]) == 0
    plan, sampling = capsys.readouterr().out.split("what a sample of")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in plan.splitlines() if line.startswith("| ")][1:]
    names = ("Poisson", "8 times as many in bursts", "azure-llm-2023-conv: 175 requests")
    assert all(row[0].startswith(name) for row, name in zip(rows[::2], names, strict=True))
    for small, large in zip(rows[::2], rows[1::2], strict=True):
        assert int(small[2]) >= 2
        assert int(large[3]) >= 4
        assert int(large[2]) == 5 * int(large[3])
        assert all(0 < float(row[5]) <= 60 for row in (small, large))
    assert int(rows[3][2]) > int(rows[1][2]), "bursts take more"
    assert "| 1        |" in sampling
    assert "| 4        |" in sampling
