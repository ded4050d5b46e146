"""Runs `hostile.fuzz.parsing` as a child process and reads what libFuzzer says at the end."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hostile.checks import Check
from hostile.fuzz.inputs import write_seeds
from hostile.serving import BREAK

SEEDS = 20
"""Inputs of each method to begin with."""
SLACK_S = 300.0
"""Seconds beyond the time to fuzz within which libFuzzer must have ended."""


@dataclass(frozen=True)
class Explored:
    """What libFuzzer tells: executions, how many a second, edges and features covered; the end of what it wrote."""

    executions: int
    per_second: int
    edges: int
    features: int
    status: int
    log: str

    def check(self) -> Check:
        """Whether no input crashed."""
        crash = re.search(r"=== Uncaught Python exception: ===\n(.*)", self.log)
        found = f"{self.executions:,} executions, {self.edges} edges and {self.features} features covered"
        told = f"; {crash.group(1)}" if crash else f"; libFuzzer ended with {self.status}"
        return Check("no input crashes what decodes, checks and cuts it", found + told, self.status == 0)


class CoverageGuided:
    """`start`, then `result`."""

    def __init__(self, store: Path, folder: Path, *, seed: int, seconds: float, broken_by: Sequence[Path] = ()) -> None:
        """folder takes the corpus and an input that crashes."""
        self._seconds = seconds
        self._log = folder / "parsing.log"
        corpus = folder / "corpus"
        corpus.mkdir(parents=True)
        write_seeds(corpus, seed, SEEDS)
        breaks = [part for path in broken_by for part in (BREAK, str(path))]
        self._command = [
            *(sys.executable, "-m", "hostile.fuzz.parsing", str(store), str(corpus), *breaks),
            *(f"-seed={seed}", f"-max_total_time={seconds:.0f}", f"-artifact_prefix={folder}/", "-timeout=60"),
        ]

    def start(self) -> None:
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def result(self) -> Explored:
        """Waits for the end; raises subprocess.TimeoutExpired where it does not come."""
        try:
            status = self._process.wait(self._seconds + SLACK_S)
        finally:
            self._process.kill()
            self._process.wait()
        log = self._log.read_text(encoding="utf-8", errors="replace")
        edges, features = (re.findall(r"cov: (\d+) ft: (\d+)", log) or [("0", "0")])[-1]
        return Explored(
            _stat(log, "number_of_executed_units"),
            _stat(log, "average_exec_per_sec"),
            int(edges),
            int(features),
            status,
            log,
        )


def _stat(log: str, name: str) -> int:
    found = re.search(rf"stat::{name}:\s+(\d+)", log)
    return int(found.group(1)) if found else 0
