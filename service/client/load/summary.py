"""What a load test says in the terminal at its end. It sends nothing."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.client.load.live import figure
from service.client.load.report import Report

COUNTS = ("sent", "ok", "good", "refused", "failed")
RATES = {"ok/s": "requests_per_s", "good/s": "goodput_per_s", "tokens/s": "tokens_per_s"}
SPANS = {"first token": "first_token_ms", "between": "gap_ms", "whole": "total_ms", "sent late": "lateness_ms"}


def show_summary(console: Console, report: Report) -> None:
    """The figures of each stage, and what is to be said of them."""
    counts = [[stage[key] for key in (*COUNTS, *RATES.values())] for stage in report["stages"]]
    _show_table(console, report, (*COUNTS, *RATES), counts)
    console.print()
    spans = [[_span(stage[key]) for key in SPANS.values()] for stage in report["stages"]]
    _show_table(console, report, tuple(SPANS), spans)
    console.print(Text("p50 / p99 in milliseconds; all but `between` from when a request was due", style="dim"))
    if report["knee_per_s"] is not None:
        console.print(Text(f"knee: {report['knee_per_s']:g} requests a second", style="bold green"))
    for verification in report["verification"]:
        number = f"{verification['num_references']} of {verification['num_sentences']} sentences"
        line = f"verified: {verification['job']}: {number} against {verification['source']}"
        console.print(Text(line), soft_wrap=True)
    if report["verification"]:
        verified = sum(stage["verified"] for stage in report["stages"])
        text = f"{report['num_different']} of {verified:,} translations differ from the reference"
        console.print(Text(text, style="bold red" if report["num_different"] else "green"))
    for stage in report["stages"]:
        for difference in stage["differences"]:
            console.print(Text(f"  {difference}", style="red"), soft_wrap=True)
    for warning in report["warnings"]:
        console.print(Text(f"note: {warning}", style="yellow"), soft_wrap=True)


def _show_table(console: Console, report: Report, heads: Sequence[str], rows: Sequence[Sequence[float | str]]) -> None:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("")
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for stage, row in zip(report["stages"], rows, strict=True):
        is_knee = report["knee_per_s"] is not None and stage["rate_per_s"] == report["knee_per_s"]
        cells = (cell if isinstance(cell, str) else figure(cell) for cell in row)
        table.add_row(*map(Text, (stage["name"], *cells)), style="bold green" if is_knee else "")
    console.print(table)


def _span(summary: dict[str, float]) -> str:
    return f"{figure(summary['p50'])} / {figure(summary['p99'])}" if summary["count"] else ""
