"""The report of a load test as one HTML page that needs nothing else: no script, no font, no network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from service.client.load.figures import figures_of
from service.client.load.live import figure
from service.client.load.report import Report

STYLE = """
:root { color-scheme: light dark; --text: #1c2230; --dim: #5c6577; --back: #fff; --card: #f6f7f9; --edge: #dde1e8;
  --c1: #2563c9; --c2: #12854a; --c3: #b86e00; --c4: #c92a3a; --c5: #7d3fc4; --c6: #7b8494; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e9ef; --dim: #9aa4b5; --back: #12151b; --card: #1a1e26;
  --edge: #2d3340; --c1: #6ba3ff; --c2: #4cc38a; --c3: #f0a63c; --c4: #ff6b78; --c5: #c08cff; --c6: #8a94a6; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 86rem; background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; } p { margin: .3rem 0; }
.dim, figcaption, th, .unit { color: var(--dim); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: .8rem; margin: 1.2rem 0; }
.tile, figure { background: var(--card); border: 1px solid var(--edge); border-radius: 8px; margin: 0; padding: .8rem; }
.tile b { display: block; font-size: 1.5rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(34rem, 100%), 1fr)); gap: 1rem; }
figcaption { font-weight: 600; } figure svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--text); font-size: 11px; } svg text.unit { fill: var(--dim); }
.grid { stroke: var(--edge); } .axis { stroke: var(--dim); } .mark { stroke: var(--dim); stroke-dasharray: 3 3; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; } .dashed { stroke-dasharray: 5 4; }
.c1 { stroke: var(--c1); } .c2 { stroke: var(--c2); } .c3 { stroke: var(--c3); } .c4 { stroke: var(--c4); }
.c5 { stroke: var(--c5); } .c6 { stroke: var(--c6); }
.dot { fill: var(--card); stroke-opacity: 0; pointer-events: all; } .dot[r="3"], .dot:hover { stroke-opacity: 1; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: .3rem 0 0; padding: 0;
  font-size: .85rem; } .legend svg { width: 22px; display: inline-block; margin-right: .35rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid var(--edge); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; } tr.knee { font-weight: 700; }
.bad { color: var(--c4); } .good { color: var(--c2); } .note { color: var(--c3); }
pre { background: var(--card); border: 1px solid var(--edge); border-radius: 8px; padding: .8rem; overflow-x: auto; }
"""
PERCENTILES = ("mean", "p50", "p75", "p90", "p95", "p99", "p99.9", "max")


def page_of(report: Report) -> str:
    """The page, from the report alone."""
    scenario = report["scenario"]
    about = " · ".join((report["began"], _load(scenario["load"]), _generator(scenario)))
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width">',
            f"<title>Load test of {escape(scenario['address'])}</title><style>{STYLE}</style></head><body>",
            f"<h1>Load test of {escape(scenario['address'])}</h1>",
            f'<p class="dim">{escape(about)}</p>',
            *_notes(report),
            f'<div class="tiles">{"".join(_tiles(report))}</div>',
            f'<div class="plots">{"".join(figures_of(report))}</div>',
            "<h2>Stages</h2>",
            _stages(report),
            *_stage_details(report),
            "<h2>Scenario</h2>",
            f"<pre>{escape(json.dumps(scenario, indent=1, ensure_ascii=False))}</pre></body></html>\n",
        )
    )


def _generator(scenario: dict[str, Any]) -> str:
    processes, connections = scenario["processes"], scenario["connections"]
    return f"processes of the generator: {processes}, with {connections} connections each"


def _load(load: dict[str, Any]) -> str:
    match load["kind"]:
        case "closed":
            return f"closed loop, {load['clients']} clients"
        case "poisson":
            return f"open loop, {load['rate']:g} requests a second"
        case "trace":
            return f"open loop, arrivals of {load['file']}"
        case _:
            return f"open loop, a ramp from {load['start_rate']:g} requests a second"


def _notes(report: Report) -> Iterator[str]:
    for verification in report["verification"]:
        counts = f"{verification['num_references']} of {verification['num_sentences']} sentences"
        yield f"<p>{escape(verification['job'])}: {counts} verified against {escape(verification['source'])}</p>"
    if report["verification"]:
        verified = sum(stage["verified"] for stage in report["stages"])
        kind = "bad" if report["num_different"] else "good"
        counts = f"{report['num_different']:,} of {verified:,}"
        yield f'<p class="{kind}">{counts} translations differ from the reference</p>'
    for stage in report["stages"]:
        for difference in stage["differences"]:
            yield f'<p class="bad">{escape(difference)}</p>'
    for warning in report["warnings"]:
        yield f'<p class="note">Note: {escape(warning)}</p>'


def _tiles(report: Report) -> Iterator[str]:
    counted = [stage for stage in report["stages"] if stage["sent"]]
    if report["knee_per_s"] is not None:
        yield _tile("knee, requests a second", figure(report["knee_per_s"]))
        counted = [stage for stage in counted if stage["rate_per_s"] == report["knee_per_s"]]
    for stage in counted[-1:]:
        yield _tile("good requests a second", figure(stage["goodput_per_s"]))
        yield _tile("tokens a second", figure(stage["tokens_per_s"]))
        for name, key in (("first token", "first_token_ms"), ("between tokens", "gap_ms"), ("whole", "total_ms")):
            if stage[key]["count"]:
                yield _tile(f"{name}, p50 / p99, ms", f"{figure(stage[key]['p50'])} / {figure(stage[key]['p99'])}")
        yield _tile("refused, failed", f"{stage['refused']:,}, {stage['failed']:,}")


def _tile(name: str, value: str) -> str:
    return f'<div class="tile"><span class="dim">{escape(name)}</span><b>{escape(value)}</b></div>'


def _stages(report: Report) -> str:
    keys = ("sent", "ok", "good", "refused", "failed", "requests_per_s", "goodput_per_s", "tokens_per_s")
    heads = ("", "sent", "ok", "good", "refused", "failed", "ok/s", "good/s", "tokens/s", "statuses")
    rows = []
    for stage in report["stages"]:
        statuses = ", ".join(f"{status} {number:,}" for status, number in stage["statuses"].items())
        is_knee = stage["rate_per_s"] is not None and stage["rate_per_s"] == report["knee_per_s"]
        rows.append(((stage["name"], *(figure(stage[key]) for key in keys), statuses), "knee" if is_knee else ""))
    return _table(heads, rows)


def _stage_details(report: Report) -> Iterator[str]:
    names = {
        "first_token_ms": "first token",
        "gap_ms": "between tokens",
        "total_ms": "whole request",
        "lateness_ms": "lateness: how late requests were sent",
        "loop_lag_ms": "lag of the generator's event loop",
        "pushback_ms": "pushback of refusals",
    }
    for stage in report["stages"]:
        rows = [
            ((name, f"{stage[key]['count']:,}", *(figure(stage[key][one]) for one in PERCENTILES)), "")
            for key, name in names.items()
            if stage[key]["count"]
        ]
        yield f"<h2>{escape(stage['name'])}: milliseconds, from when a request was due</h2>"
        yield _table(("", "count", *PERCENTILES), rows)
        if len(report["jobs"]) > 1:
            yield _table(("request", "sent"), [((n, f"{count:,}"), "") for n, count in stage["by_job"].items()])


def _table(heads: Sequence[str], rows: Sequence[tuple[Sequence[str], str]]) -> str:
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    body = "".join(
        f'<tr class="{kind}">{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>' for cells, kind in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
