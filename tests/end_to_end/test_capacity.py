"""The parts of the capacity model that ask real servers, on the smallest scale; no figure is judged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.capacity import serving
from benchmarks.capacity.arrivals import recorded
from benchmarks.capacity.checking import real_figures
from benchmarks.capacity.clients import Traffic, run_clients, sent
from benchmarks.capacity.costs import Costs, EncodeCost, StepCost
from benchmarks.capacity.graphs import encode_cost, fit_points, measure_encodes, measure_steps, step_cost
from benchmarks.capacity.measuring import NOTHING
from benchmarks.capacity.serving import Model, measure_serving, sentence_file, served, sizes
from service.client.client import Client
from service.client.server_process import SERVE_COMMAND
from service.client.types import Completion
from service.model.onnx_model import OnnxModel
from tests.faults.security.servers import started

NAME = "en-de-transformer"


@pytest.fixture
def model(shipped_store: Path, sentences: list[str]) -> Model:
    (folder,) = (shipped_store / NAME).iterdir()
    return Model(folder, NAME, sentences[:50])


@pytest.fixture
def core() -> int:
    return min(os.sched_getaffinity(0))


def test_a_served_model_is_measured_and_its_clients_are_answered(
    model: Model, core: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "WINDOW_S", 0.5)
    monkeypatch.setattr(serving, "CLIENTS", (1, 4))
    step, encode = StepCost(fixed=1e-5, row=0.0, age=0.0, source=0.0), EncodeCost(fixed=0.0, token=0.0, pair=0.0)
    with served(model, core) as server:
        assert os.sched_getaffinity(server.pid) == {core}
        found = sizes(server.address, model)
        assert len(found) == len(model.sentences)
        assert all(source > 1 and target > 1 for source, target in found)
        costs = Costs(
            model=NAME,
            machine="",
            length_multiple=16,
            step=step,
            encode=encode,
            serving=NOTHING,
            client=NOTHING,
            sizes=found,
        )
        for fitted in measure_serving([server], model, costs, cores=[core]):
            assert max(fitted.coefficients) > 0
        with sentence_file(model) as file:
            one, other = (Traffic(server.address, NAME, file, 1.0, rate=20.0, seed=seed) for seed in (1, 2))
            ran = run_clients([(core, one), (core, other)])
    for each, traffic in zip(ran, (one, other), strict=True):
        assert each.cpu_s > 0
        assert all(answer.completed_at for answer in each.window.answers)
        assert [answer.num_tokens for answer in each.window.answers] == [one.target for one in sent(traffic, found)]
    figures = real_figures([each.window for each in ran], 1.0, 0.5)
    longest = max(each.window.end - each.window.start for each in ran)
    assert figures.busy == pytest.approx(0.5 / 2 / longest)
    assert 0 < figures.first_p50 <= figures.first_p99
    assert 0 < figures.gap_p50 <= figures.gap_p99


def test_the_graphs_of_a_model_cost_what_the_formula_says_up_to_a_factor(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.capacity.graphs.ROWS", (1, 8))
    onnx_model = OnnxModel(model.folder, num_threads=1)
    steps, encodes = fit_points(measure_steps(onnx_model, 1)), fit_points(measure_encodes(onnx_model))
    assert step_cost(steps).seconds(8, 8 * 20, 16) > step_cost(steps).seconds(1, 20, 16) > 0
    assert encode_cost(encodes).seconds(4, 48) > encode_cost(encodes).seconds(1, 16) > 0


def test_what_a_server_logs_can_be_played_again(shipped_store: Path, sentences: list[str], tmp_path: Path) -> None:
    log, completions = tmp_path / "server.log", list[Completion]()
    command = (*SERVE_COMMAND, "--model-store", str(shipped_store))
    with started(command, log) as server, Client(server.address) as client:
        for sentence in sentences[:3]:
            completions += [event for event in client.stream(sentence, model=NAME) if isinstance(event, Completion)]
    found = recorded(log, ())
    expected = [(one.num_source_tokens, one.num_target_tokens) for one in completions]
    assert [(arrival.source, arrival.target) for arrival in found] == expected
    assert found[0].at == 0 < found[1].at < found[2].at
