"""A contender that runs in another environment: sources go in as a line of JSON, an empty line comes back when their
translations are made."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import ROOT, LeftOutError

QUIET = {"TRANSFORMERS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1"}


class Child:
    """Contender of `benchmarks.comparison`, greedy. Ends with the block."""

    def __init__(self, setting: str, python: Path, script: str, *arguments: str) -> None:
        """Starts benchmarks/competitors/SCRIPT and waits until it is ready; raises LeftOutError with the last line of
        what it said where it ends instead."""
        self.setting = setting
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115, closed in __exit__
        command = [str(python), str(Path(__file__).with_name(script)), *arguments]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=os.environ | QUIET,
        )
        self._wait()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._log.close()

    def translate(self, sources: Sequence[Sequence[int]], beam_size: int) -> None:
        assert beam_size == 1
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(list(map(list, sources))) + "\n")
        self._process.stdin.flush()
        self._wait()

    def _wait(self) -> None:
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            status = self._process.wait()
            self._log.seek(0)
            lines = self._log.read().strip().splitlines()
            self.__exit__()
            raise LeftOutError(lines[-1] if lines else f"its process ended with status {status}")
