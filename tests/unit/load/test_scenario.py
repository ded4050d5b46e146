"""A load test as a TOML file and as flags."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from service.cli import USAGE, main
from service.client.errors import InvalidRequestError
from service.client.load.arguments import add_load, with_flags
from service.client.load.scenario import (
    Closed,
    EmptySteps,
    Job,
    Poisson,
    Ramp,
    Scenario,
    Targets,
    Trace,
    make_scenario,
    read_scenario,
)
from service.client.options import DecodingOptions, Sampling

MIXED = """
address = "replicas:8001"
processes = 2
[load]
kind = "trace"
file = "arrivals.txt"
speed = 2.0
[targets]
first_token_ms = 200
[[mix]]
weight = 3
model = "en-de"
sentences = "captions.txt"
[[mix]]
model = "en-ko"
version = "stable"
options = { beam_size = 4, terms = [["Hund", "Tier"]], max_length = 30 }
[[mix]]
model = "en-ko"
options = { sampling = { top_p = 0.5 }, seed = 7 }
[[mix]]
empty_steps = { num_steps = 10, step_bytes = 64 }
"""


def by_flags(*flags: object, tables: dict[str, object] | None = None) -> Scenario:
    parser = argparse.ArgumentParser()
    add_load(parser.add_subparsers())
    return make_scenario(with_flags(tables or {}, parser.parse_args(["load", *map(str, flags)])))


def test_a_file_says_it_all(tmp_path: Path) -> None:
    (tmp_path / "mixed.toml").write_text(MIXED)
    scenario = make_scenario(read_scenario(tmp_path / "mixed.toml"))
    assert scenario == Scenario(
        address="replicas:8001",
        processes=2,
        load=Trace(kind="trace", file=tmp_path / "arrivals.txt", speed=2.0),
        targets=Targets(first_token_ms=200),
        mix=(
            Job(weight=3, model="en-de", sentences=tmp_path / "captions.txt"),
            Job(
                model="en-ko",
                version="stable",
                options=DecodingOptions(beam_size=4, terms=(("Hund", "Tier"),), max_length=30),
            ),
            Job(model="en-ko", options=DecodingOptions(sampling=Sampling(top_p=0.5), seed=7)),
            Job(empty_steps=EmptySteps(num_steps=10, step_bytes=64)),
        ),
    )
    assert [job.name for job in scenario.mix] == [
        "en-de",
        "en-ko:stable max_length=30 beam_size=4 terms=(('Hund', 'Tier'),)",
        "en-ko seed=7 sampling={'top_p': 0.5}",
        "10 empty steps of 64 bytes",
    ]


@pytest.mark.parametrize(
    ("tables", "problem"),
    [
        ({"adress": "a:1"}, "adress: Extra inputs are not permitted"),
        ({"load": {"kind": "poison"}}, "load: Input tag 'poison'"),
        ({"load": {"kind": "poisson"}}, "load.poisson.rate: Field required"),
        ({"load": {"kind": "ramp", "growth": 1.0}}, "load.ramp.growth: Input should be greater than 1"),
        ({"mix": []}, "mix: Tuple should have at least 1 item"),
        ({"mix": [{"options": {"beam": 4}}]}, "mix.0.options: there is no option 'beam'"),
        ({"mix": [{"options": {"sampling": {"top_q": 1}}}]}, "mix.0.options: there is no option 'top_q'"),
        ({"mix": [{"model": "m", "empty_steps": {}}]}, "mix.0: empty_steps goes with no model"),
        ({"targets": {"first_token_ms": 0}}, "targets.first_token_ms: Input should be greater than 0"),
    ],
)
def test_what_cannot_be_played_is_said_by_its_place(tables: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"the scenario cannot be played: {problem}"):
        make_scenario(tables)


def test_a_file_that_is_no_toml_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("load = [")
    with pytest.raises(InvalidRequestError, match=r"bad\.toml"):
        read_scenario(tmp_path / "bad.toml")


def test_without_any_flag_it_is_a_closed_loop_on_the_only_model() -> None:
    assert by_flags() == Scenario(load=Closed(clients=16), mix=(Job(),))


def test_each_kind_of_load_has_its_flag() -> None:
    assert by_flags("--clients", 3, "--duration-s", 5).load == Closed(clients=3, duration_s=5)
    poisson = Poisson(kind="poisson", rate=2.5, warm_up_s=0)
    assert by_flags("--rate", 2.5, "--warm-up-s", 0).load == poisson
    assert by_flags("--trace", "t", "--speed", 2).load == Trace(kind="trace", file=Path("t"), speed=2)
    ramp = Ramp(kind="ramp", start_rate=5, growth=2, stage_s=4, good_share=0.9)
    assert by_flags("--ramp", 5, "--growth", 2, "--duration-s", 4, "--good-share", 0.9).load == ramp


def test_flags_say_what_is_sent_and_what_is_good() -> None:
    scenario = by_flags(
        "--model", "m", "--version", "stable", "--beam-size", 4, "--target-gap-ms", 20, "--load-seed", 3
    )
    assert scenario.mix == (Job(model="m", version="stable", options=DecodingOptions(beam_size=4)),)
    assert (scenario.targets, scenario.seed) == (Targets(gap_ms=20), 3)
    sampled = by_flags("--sample", "--top-k", 5, "--ignore-end-of-sequence", "--max-length", 9).mix[0].options
    assert sampled == DecodingOptions(sampling=Sampling(top_k=5), ignore_end_of_sequence=True, max_length=9)
    steps = by_flags("--empty-steps", 10, "--step-bytes", 64, "--steps-per-second", 5).mix[0].empty_steps
    assert steps == EmptySteps(num_steps=10, step_bytes=64, steps_per_second=5)


def test_flags_win_over_the_file_and_leave_the_rest_of_it() -> None:
    tables = {"load": {"kind": "closed", "clients": 3, "warm_up_s": 1}, "targets": {"total_ms": 5}, "processes": 2}
    scenario = by_flags("--duration-s", 7, "--target-gap-ms", 2, tables=tables)
    assert scenario.load == Closed(clients=3, warm_up_s=1, duration_s=7)
    assert (scenario.targets, scenario.processes) == (Targets(total_ms=5, gap_ms=2), 2)
    assert by_flags("--rate", 2, tables=tables).load == Poisson(kind="poisson", rate=2)


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--step-bytes", "4"], "--step-bytes and --steps-per-second need --empty-steps"),
        (["--model-store", "s"], "--model-store needs --verify"),
        (["--rate", "1", "--clients", "1"], "not allowed with argument"),
        (["--top-k", "4"], "need --sample"),
    ],
)
def test_a_flag_without_its_other_is_a_usage_error(
    flags: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_request:
        main(["load", *flags])
    assert exit_request.value.code == USAGE
    assert problem in capsys.readouterr().err
