"""How long from nothing to the first token."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import at_most
from benchmarks.report import SHIPPED, Bench, Table
from service.client.client import Client
from service.client.server_process import SERVE_COMMAND, running_server

GOAL_S = 1.0
PARTS = ("python", "imports", "load", "replay")


def measure(bench: Bench) -> Iterator[Table]:
    version = bench.shipped(SHIPPED)
    store = bench.scratch / "store"
    shutil.copytree(version, store / SHIPPED / version.name)
    wholes: list[tuple[float, float]] = []
    parts: list[dict[str, float]] = []
    for _ in range(bench.rounds):
        wholes.append(_first_token_seconds(store, bench.captions[0]))
        command = (sys.executable, "-m", "benchmarks.starting", str(store))
        parts.append(json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout))
    ready, first = (statistics.median(each) for each in zip(*wholes, strict=True))
    medians = [statistics.median(one[part] for one in parts) for part in PARTS]
    yield Table(
        f"From starting `stepstream serve` with {SHIPPED} alone to its first token at a client, in s; its parts, "
        "measured one by one in a process of the same kind",
        ("first token", "to reach", "ready to serve", "Python", "imports", "check and load", "replay of certificate"),
        [(f"{first:.2f}", at_most(first, GOAL_S, " s"), f"{ready:.2f}", *(f"{each:.2f}" for each in medians))],
    )


def _first_token_seconds(store: Path, text: str) -> tuple[float, float]:
    """Seconds from making the process until it says that it serves, and until the first token is here."""
    started = time.perf_counter()
    with running_server((*SERVE_COMMAND, "--model-store", str(store))) as address:
        ready = time.perf_counter() - started
        with Client(address) as client:
            next(client.stream(text, model=SHIPPED))
            return ready, time.perf_counter() - started
