"""`make fuzz MINUTES=n SEED=n`: coverage-guided fuzzing of a request's way to the tokens, in process, beside
structured and damaged calls against the port of a real server."""

from __future__ import annotations

import argparse
import random
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from hostile.checks import Check, balance_check, ends_well, print_checks, table
from hostile.fuzz.coverage_guided import CoverageGuided
from hostile.fuzz.live import Live, ViolationError
from hostile.report import REPORTS, heading
from hostile.server import serving
from hostile.serving import BREAK
from hostile.store import publish_tiny

FLAGS = ("--max-slots", "16", "--max-queue-length", "16", "--grace-s", "5")
"""Of a server that is full now and then."""
SEED_STEP = 1_000_000
"""Between the seeds that two runs begin with, so that their rounds differ."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hostile.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1000), help="of a run to repeat (default: random)")
    parser.add_argument("--reports", type=Path, default=REPORTS, help=f"folder (default: {REPORTS})")
    parser.add_argument("--store", type=Path, help="of a tiny model that is there already")
    parser.add_argument(BREAK, type=Path, action="append", default=[], dest="broken_by", help="break the server first")
    options = parser.parse_args()
    print(f"SEED={options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        store = options.store or Path(temporary) / "store"
        if options.store is None:
            publish_tiny(store)
        checks, figures = fuzz(
            store,
            options.reports / "crashes" / str(options.seed),
            seed=options.seed,
            seconds=60 * options.minutes,
            broken_by=options.broken_by,
        )
    report = f"{heading('Fuzzing')}\nSeed {options.seed}, {options.minutes:g} minutes. {figures}\n\n{table(checks)}"
    (options.reports / "fuzz.md").write_text(report, encoding="utf-8")
    print(figures)
    return print_checks(checks)


def fuzz(
    store: Path, folder: Path, *, seed: int, seconds: float, broken_by: Sequence[Path] = ()
) -> tuple[list[Check], str]:
    """Both at the same time; folder takes logs and inputs that crash. What held, and what was done."""
    parsing = CoverageGuided(store, folder, seed=seed, seconds=seconds, broken_by=broken_by)
    parsing.start()
    with serving(store, folder / "server.log", FLAGS, broken_by) as server:
        live = Live(server)
        told, num_rounds = "", 0
        try:
            num_rounds = live.run(seed * SEED_STEP, seconds)
        except (ViolationError, ExceptionGroup) as error:
            told = "; " + traceback.format_exception_only(error)[0].strip()
            (folder / "example.txt").write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        checks = [
            Check(
                "no call and no damaged connection gets a status that it must not get, hangs or learns of the inside",
                f"{live.num_calls:,} calls, {live.num_connections:,} damaged connections, {num_rounds} rounds{told}",
                holds=not told,
            ),
            balance_check(server),
            ends_well(server),
        ]
    explored = parsing.result()
    statuses = ", ".join(f"{number:,} {code}" for code, number in sorted(live.statuses.items()))
    figures = f"{explored.per_second:,} executions a second in process. Statuses of the live server: {statuses}."
    return [explored.check(), *checks], figures


if __name__ == "__main__":
    raise SystemExit(main())
