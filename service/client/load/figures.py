"""The charts of a load test's report: over time, by percentile, and for a ramp by the rate that was offered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from service.client.load.chart import Line, Mark, chart
from service.client.load.report import Report
from service.client.load.scales import linear, logarithmic, percentiles

LEAST_MS = 0.1


def figures_of(report: Report) -> Iterator[str]:
    """Those that the report has something for."""
    stages = report["stages"]
    if len(stages) > 1:
        yield _by_rate(report)
        yield _latency_by_rate(report)
    timeline, marks = _timeline(stages)
    if timeline:
        yield _over_time("Requests", timeline, marks, "a second", _REQUESTS)
        yield _over_time("Tokens", timeline, marks, "a second", (("tokens", "tokens", 1),))
        yield _over_time("Requests in flight", timeline, marks, "", (("in flight", "running", 2),))
        yield _over_time("Latency, from when a request was due", timeline, marks, "ms", _LATENCIES, is_log=True)
    chosen = _stage_to_show(report)
    if chosen is not None:
        yield _by_percentile(chosen)


_REQUESTS = (
    ("due", "due", 6),
    ("answered", "ok", 1),
    ("good", "good", 2),
    ("refused", "refused", 3),
    ("failed", "failed", 4),
)
_LATENCIES = (
    ("first token, median", "first_token_p50_ms", 1),
    ("first token, 99 %", "first_token_p99_ms", 5),
    ("whole, median", "total_p50_ms", 2),
    ("whole, 99 %", "total_p99_ms", 3),
)


def _stage_to_show(report: Report) -> Report | None:
    """The knee of a ramp, else the last stage that was counted."""
    counted: list[Report] = [stage for stage in report["stages"] if stage["sent"]]
    knees = [stage for stage in counted if stage["rate_per_s"] and stage["rate_per_s"] == report["knee_per_s"]]
    return next(reversed(knees or counted), None)


def _timeline(stages: Sequence[Report]) -> tuple[list[tuple[float, dict[str, Any]]], list[Mark]]:
    """Every whole second of all stages, one after the other with a gap between, and where each stage begins. The last
    second of a stage is cut short by its end."""
    timeline: list[tuple[float, dict[str, Any]]] = []
    marks, start = [], 0
    for stage in stages:
        if len(stages) > 1:
            marks.append(Mark(start, f"{stage['rate_per_s']:.4g}/s"))
        elif stage["warm_up_s"]:
            marks.append(Mark(stage["warm_up_s"], "counted from here"))
        whole = stage["seconds"][:-1] or stage["seconds"]
        timeline += [(start + second["second"], second) for second in whole]
        start += len(stage["seconds"])
        timeline.append((start, {}))
    return timeline, marks


def _over_time(
    title: str,
    timeline: Sequence[tuple[float, dict[str, Any]]],
    marks: Sequence[Mark],
    unit: str,
    lines: Sequence[tuple[str, str, int]],
    *,
    is_log: bool = False,
) -> str:
    def value(second: dict[str, Any], key: str) -> float | None:
        found = second.get(key)
        return None if found is None or (is_log and not found) else float(found)

    drawn = [Line(name, [(at, value(second, key)) for at, second in timeline], colour) for name, key, colour in lines]
    drawn = [line for line in drawn if any(point for _, point in line.points)] or drawn[:1]
    values = [point for line in drawn for _, point in line.points if point is not None]
    y = logarithmic(max(min(values), LEAST_MS), max(values)) if is_log and values else linear(0, max(values, default=1))
    x = linear(0, max(at for at, _ in timeline), num_ticks=8)
    return chart(title, drawn, x=x, y=y, x_title="seconds", y_title=unit, marks=marks)


def _by_percentile(stage: Report) -> str:
    colours = {"first token": 1, "between tokens": 5, "whole": 2, "lateness": 6}
    names = {"lateness": "lateness of the generator"}
    lines = [
        Line(names.get(name, name), [(percent, ms) for ms, percent in distribution], colours[name])
        for name, distribution in stage["distributions"].items()
        if distribution
    ]
    values = [ms for line in lines for _, ms in line.points if ms]
    most = max((percent for line in lines for percent, _ in line.points if percent < 100), default=99.0)
    return chart(
        f"Latency by percentile: {stage['name']}",
        lines,
        x=percentiles(most),
        y=logarithmic(max(min(values, default=1.0), LEAST_MS), max(values, default=10.0)),
        x_title="share that took no longer",
        y_title="ms",
    )


def _ramp(report: Report) -> list[Report]:
    return sorted(report["stages"], key=lambda stage: float(stage["rate_per_s"]))


def _knee(report: Report) -> list[Mark]:
    return [Mark(report["knee_per_s"], f"knee: {report['knee_per_s']:.4g}/s")] if report["knee_per_s"] else []


def _by_rate(report: Report) -> str:
    stages = _ramp(report)
    top = float(stages[-1]["rate_per_s"])
    lines = [
        Line("offered", [(0, 0), (top, top)], 6, is_dashed=True),
        Line("answered", [(one["rate_per_s"], one["requests_per_s"]) for one in stages], 1, has_dots=True),
        Line("good", [(one["rate_per_s"], one["goodput_per_s"]) for one in stages], 2, has_dots=True),
        Line("refused", [(one["rate_per_s"], _per_s(one, "refused")) for one in stages], 3, has_dots=True),
    ]
    return chart(
        "What was offered and what was answered",
        lines,
        x=linear(0, top),
        y=linear(0, top),
        x_title="requests offered, a second",
        y_title="a second",
        marks=_knee(report),
    )


def _per_s(stage: Report, key: str) -> float:
    counted_s: float = stage["duration_s"] - stage["warm_up_s"]
    return float(stage[key]) / max(counted_s, 1e-9)


def _latency_by_rate(report: Report) -> str:
    stages = _ramp(report)

    def line(name: str, key: str, percentile: str, colour: int, *, is_dashed: bool = False) -> Line:
        points = [(one["rate_per_s"], one[key].get(percentile)) for one in stages]
        return Line(name, points, colour, is_dashed=is_dashed, has_dots=True)

    lines = [
        line("first token, median", "first_token_ms", "p50", 1),
        line("first token, 99 %", "first_token_ms", "p99", 5),
        line("whole, 99 %", "total_ms", "p99", 3),
        line("lateness of the generator, 99 %", "lateness_ms", "p99", 6, is_dashed=True),
    ]
    values = [value for one in lines for _, value in one.points if value]
    return chart(
        "Latency by offered rate",
        lines,
        x=linear(0, float(stages[-1]["rate_per_s"])),
        y=logarithmic(max(min(values, default=1.0), LEAST_MS), max(values, default=10.0)),
        x_title="requests offered, a second",
        y_title="ms",
        marks=_knee(report),
    )
