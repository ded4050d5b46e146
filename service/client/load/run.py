"""Plays a scenario and reports: what `stepstream load` does. It parses no arguments."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from service.client.client import Client
from service.client.load.fleet import Fleet
from service.client.load.generator import Orders
from service.client.load.jobs import add_references, read_jobs
from service.client.load.live import LiveView
from service.client.load.page import page_of
from service.client.load.plan import plan
from service.client.load.report import Results, report_of
from service.client.load.scenario import Scenario
from service.client.load.summary import show_summary

FAILED = 1


def run_load(
    console: Console,
    scenario: Scenario,
    *,
    verify: bool = False,
    model_store: Path | None = None,
    json_path: Path | None = None,
    html_path: Path | None = None,
) -> int:
    """The exit status: 1 where a translation differs from its reference or nothing was answered. Raises StepstreamError
    or OSError."""
    for path in filter(None, (json_path, html_path)):
        path.touch()
    results = prepare_and_play(console, scenario, verify=verify, model_store=model_store)
    report = report_of(results)
    if json_path is not None:
        json_path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if html_path is not None:
        html_path.write_text(page_of(report), encoding="utf-8")
    show_summary(console, report)
    return FAILED if results.num_different or not results.num_ok else 0


def prepare_and_play(console: Console, scenario: Scenario, *, verify: bool, model_store: Path | None) -> Results:
    """Read the jobs, make the references, play every stage."""
    with Client(scenario.address) as client:
        jobs = read_jobs(scenario, client)
        results = Results(scenario, [job.name for job in jobs])
        if verify:
            jobs, results.verifications = add_references(jobs, scenario, client, model_store)
    orders = Orders(
        address=scenario.address,
        jobs=jobs,
        targets=scenario.targets,
        connections=scenario.connections,
        timeout_s=scenario.timeout_s,
        seed=scenario.seed,
        number=0,
    )
    title = f"stepstream load {scenario.address}"
    with Fleet(orders, scenario.processes) as fleet, LiveView(console, title, verifies=verify) as view:
        stages = plan(scenario.load, scenario.seed)
        stage = next(stages, None)
        while stage is not None:
            view.begin(stage)
            results.played.append(fleet.run(stage, view.show))
            try:
                stage = stages.send(results.played[-1])
            except StopIteration:
                stage = None
    return results
