"""Commands that start each server to measure, in a process of its own."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import ROOT, Bench
from service.client.server_process import SERVE_COMMAND


@dataclass(frozen=True)
class Server:
    """A command for `running_server`, and its setting in words."""

    setting: str
    command: tuple[str, ...]


def ours(version: Path, *, num_slots: int | None = None, provider: str = "cpu") -> Server:
    """This project's server on one version, with its default settings but for the rows of its steps and the execution
    provider."""
    settings = [f"STEPSTREAM_EXECUTION_PROVIDERS={provider}"]
    if num_slots is not None:
        settings.append(f"STEPSTREAM_MAX_SLOTS={num_slots}")
    return Server("default", ("env", *settings, sys.executable, "-m", "benchmarks.server", str(version)))


def store(*, num_processes: int) -> Server:
    """This project's server on all shipped models."""
    flags = ("--model-store", str(ROOT / "model_store"), "--num-processes", str(num_processes))
    return Server(f"{num_processes} processes", (*SERVE_COMMAND, *flags))


def ctranslate2(bench: Bench, *, workers: int, threads: int, max_batch: int = 32) -> Server:
    """CTranslate2 with the base's weights."""
    flags = {"--workers": workers, "--threads": threads, "--max-batch": max_batch}
    return Server(
        f"{workers} x {threads}",
        (
            *(sys.executable, "-m", "benchmarks.ctranslate2_server"),
            *(str(bench.base_in_ctranslate2), str(bench.base)),
            *(part for flag, value in flags.items() for part in (flag, str(value))),
        ),
    )
