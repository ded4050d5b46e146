"""Alerts, runbook and dashboard speak of what the server measures, and of all of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.management.metrics import LoadMetrics
from service.metrics import Metrics

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana/dashboards/stepstream.json").read_text())
OTHERS = re.compile(r"envoy_\w+|python_\w+|up")
"""What others export, which a test with the real ones looks at."""
WITH_OTHERS = {"stepstream_log_lines_dropped", "stepstream_spans_exported", "stepstream_spans_dropped"}
"""What a server exports whose log and traces have somewhere to go."""


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def names_in(expression: str) -> set[str]:
    """The series that an expression asks for."""
    bare = re.sub(r"\{[^}]*\}|\"[^\"]*\"|\b(?:by|on|ignoring|group_left)\s*\([^)]*\)", "", expression)
    return set(re.findall(r"\b(?:stepstream|process|envoy|python)_\w+|\bup\b", bare))


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """The names of the series of each metric that a server exports."""
    metrics = Metrics()
    metrics.engine("model", 1, num_slots=1)
    LoadMetrics(metrics.registry)
    metrics.watch_gauge("stepstream_event_loop_stall_seconds", "", lambda: 0.0)
    for name in WITH_OTHERS:
        metrics.watch_counter(name, "", lambda: 0)
    return dict(_series(metrics.registry))


def _series(registry: CollectorRegistry) -> Iterator[tuple[str, set[str]]]:
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("",), "gauge": ("",)}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        if family.name.startswith(("stepstream_", "process_")) and not family.name.endswith("_created"):
            yield family.name, {family.name + ending for ending in endings[family.type]}


def test_every_query_and_every_alert_asks_for_what_is_exported(exported: dict[str, set[str]]) -> None:
    known = set().union(*exported.values())
    for expression in [*queries(), *(alert["expr"] for alert in alerts())]:
        names = {name for name in names_in(expression) if not OTHERS.fullmatch(name)}
        assert names <= known, (expression, names - known)


def test_the_dashboard_shows_everything_that_the_server_measures(exported: dict[str, set[str]]) -> None:
    shown = set().union(*map(names_in, queries()))
    assert {name for name, series in exported.items() if not series & shown} == set()


def test_every_panel_has_a_title_a_unit_a_description_and_a_place_of_its_own() -> None:
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels():
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_dashboard_asks_the_source_that_is_provisioned() -> None:
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    sources = {panel["datasource"]["uid"] for panel in panels()}
    sources |= {target["datasource"]["uid"] for panel in panels() for target in panel["targets"]}
    sources |= {variable["datasource"]["uid"] for variable in DASHBOARD["templating"]["list"]}
    assert sources == {source["uid"]}


def test_every_variable_of_a_query_is_one_of_the_dashboard_or_of_grafana() -> None:
    own = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    for query in queries():
        assert set(re.findall(r"\$(\w+)", query)) <= own | {"__rate_interval"}, query


def test_the_runbook_has_a_section_for_each_alert_and_no_other() -> None:
    names = [alert["alert"] for alert in alerts()]
    sections = re.findall(r"^### (\w+)$", (DEPLOY / "runbook.md").read_text(), re.MULTILINE)
    assert sections == names
    assert len(set(names)) == len(names)


def test_every_alert_says_how_urgent_it_is_and_what_has_happened() -> None:
    for alert in alerts():
        assert alert["labels"]["severity"] in {"page", "ticket"}, alert["alert"]
        assert alert["annotations"]["summary"].endswith((".", "}}.")), alert["alert"]
