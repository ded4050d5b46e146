"""`make memory`: 100,000 streams, a third of them cancelled, with 1,000,000 decoder steps; 10,000 that are cancelled in
the queue; 50,000 requests that are refused; and what the server's memory grows by."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from hostile.checks import print_checks, table
from hostile.growth import draw, growth
from hostile.memory.measuring import Measured, Plan, measure
from hostile.memory.waiting import FLAGS
from hostile.report import REPORTS, heading
from hostile.server import serving
from hostile.serving import BREAK
from hostile.store import publish_tiny

PICTURE = "memory.png"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hostile.memory", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=100, help="of 1,000 streams each (default: 100)")
    parser.add_argument("--reports", type=Path, default=REPORTS, help=f"folder (default: {REPORTS})")
    parser.add_argument(BREAK, type=Path, action="append", default=[], dest="broken_by", help="break the server first")
    options = parser.parse_args()
    plan = Plan(options.seed, options.rounds)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        publish_tiny(Path(temporary) / "store")
        with serving(Path(temporary) / "store", Path(temporary) / "log", FLAGS, options.broken_by) as server:
            measured = asyncio.run(measure(server, plan))
    draw({"server": measured.streams}, "streams", options.reports / PICTURE)
    figures = _figures(plan, measured, time.monotonic() - started)
    checks = measured.checks()
    report = f"{heading('Memory')}\n{figures}\n\n{table(checks)}\n![memory over streams]({PICTURE})\n"
    (options.reports / "memory.md").write_text(report, encoding="utf-8")
    print(figures)
    return print_checks(checks)


def _figures(plan: Plan, measured: Measured, seconds: float) -> str:
    slope = growth(measured.streams)
    streams, waiting, refused = (samples[-1].done for samples in (measured.streams, measured.waiting, measured.refused))
    statuses = ", ".join(f"{number:,} {code}" for code, number in sorted(measured.statuses.items()))
    return (
        f"Seed {plan.seed}, {seconds:,.0f} s: {streams:,.0f} streams with {measured.num_steps:,} decoder steps, "
        f"{waiting:,.0f} cancelled in the queue, {refused:,.0f} refused. {slope.resident:.1f} bytes resident and "
        f"{slope.allocated:.1f} allocated more after each stream. Statuses: {statuses}."
    )


if __name__ == "__main__":
    raise SystemExit(main())
