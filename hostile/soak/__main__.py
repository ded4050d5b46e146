"""`make soak MINUTES=n SEED=n`: ordinary and hostile clients, in a random order that a seed repeats, against
two replicas of which one is killed now and then; every promise is checked at the end. 25 minutes before a release."""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
from pathlib import Path

from hostile.checks import print_checks, table
from hostile.growth import draw
from hostile.report import REPORTS, heading
from hostile.serving import BREAK
from hostile.soak import management
from hostile.soak.running import Outcome, Plan, soak
from hostile.soak.world import Book
from hostile.store import publish_tiny

PICTURE = "soak.png"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hostile.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1000), help="of a run to repeat (default: random)")
    parser.add_argument("--reports", type=Path, default=REPORTS, help=f"folder (default: {REPORTS})")
    parser.add_argument("--store", type=Path, help="of tiny models that are there already")
    parser.add_argument(BREAK, type=Path, action="append", default=[], dest="broken_by", help="break the servers first")
    options = parser.parse_args()
    print(f"SEED={options.seed}", flush=True)
    plan = Plan(options.seed, 60 * options.minutes)
    with tempfile.TemporaryDirectory() as temporary:
        store = options.store or Path(temporary) / "store"
        if options.store is None:
            for version in management.VERSIONS:
                publish_tiny(store, version=version)
        logs = options.reports / "crashes" / f"soak-{options.seed}"
        logs.mkdir(parents=True, exist_ok=True)
        outcome = asyncio.run(soak(store, logs, plan, options.broken_by))
    draw({"steady replica": outcome.memory}, "seconds", options.reports / PICTURE)
    (options.reports / "soak.md").write_text(_report(plan, outcome), encoding="utf-8")
    for example in outcome.book.examples:
        print(example)
    print(_summary(plan, outcome))
    return print_checks(outcome.checks)


def _summary(plan: Plan, outcome: Outcome) -> str:
    calls = sum(counts.total() for counts in outcome.book.statuses.values())
    return (
        f"Seed {plan.seed}, {plan.seconds / 60:g} minutes, {plan.num_workers} workers: {outcome.num_played:,} "
        f"scenarios, {calls:,} calls; {outcome.book.num_compared:,} complete answers compared, byte for byte, with "
        "those that the idle server gave at the start."
    )


def _report(plan: Plan, outcome: Outcome) -> str:
    examples = "".join(f"- {example}\n" for example in outcome.book.examples)
    return (
        f"{heading('Soak')}\n{_summary(plan, outcome)}\n\n{table(outcome.checks)}\n{examples}\n"
        f"{_counts(outcome.book)}\n![memory over time]({PICTURE})\n"
    )


def _counts(book: Book) -> str:
    rows = [
        f"| {scenario} | {', '.join(f'{number:,} {status}' for status, number in counts.most_common())} |"
        for scenario, counts in sorted(book.statuses.items())
    ]
    return "\n".join(["| scenario | calls by status |", "|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
