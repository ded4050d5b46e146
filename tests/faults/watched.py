"""A real server process whose HTTP port and log a test can read."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from prometheus_client.parser import text_string_to_metric_families

from hostile.ports import free_port
from tests.faults.commands import MODEL, command

ROOT = Path(__file__).parents[2]
WAIT_S = 30.0
Series = tuple[str, frozenset[tuple[str, str]]]


def copy_model(folder: Path, name: str = MODEL) -> Path:
    """A store with one shipped model, which a server loads in no time."""
    shutil.copytree(ROOT / "model_store" / name, folder / name)
    return folder


def ask(port: int, path: str, *, timeout_s: float = WAIT_S) -> tuple[int, str]:
    """Status and body of one HTTP request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def read_metrics(port: int) -> dict[Series, float]:
    """Every series that a server shows, by name and labels."""
    families = text_string_to_metric_families(ask(port, "/metrics")[1])
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def total(metrics: Mapping[Series, float], name: str, **labels: str) -> float:
    """The sum of a metric's series that have these labels among theirs."""
    return sum(value for (known, has), value in metrics.items() if known == name and labels.items() <= set(has))


def wait_until(is_true: Callable[[], bool], *, timeout_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@dataclass
class WatchedServer:
    """address is HOST:PORT of gRPC, port the one of HTTP."""

    process: subprocess.Popen[str]
    address: str
    port: int
    log: IO[str]

    def metrics(self) -> dict[Series, float]:
        return read_metrics(self.port)

    def lines(self) -> list[str]:
        """All that the process has written to stderr, if that is a file."""
        self.log.seek(0)
        return self.log.read().splitlines()

    def calls(self) -> list[dict[str, Any]]:
        """The access lines."""
        events = [json.loads(line) for line in self.lines()]
        return [event for event in events if event["event"] == "call"]


@contextmanager
def watched_server(
    store: Path,
    *flags: str,
    stderr: int | IO[str] | None = None,
    environment: Mapping[str, str] | None = None,
    alterations: Sequence[str] = (),
    status: int = 0,
) -> Iterator[WatchedServer]:
    """Serve a store, altered as `altered_server` can, until the block ends; the process must then end with `status`
    when it is asked to."""
    port = free_port()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            command(store, "--metrics-port", str(port), *flags, alterations=alterations),
            stdout=subprocess.PIPE,
            stderr=log if stderr is None else stderr,
            text=True,
            env=os.environ | (environment or {}),
        )
        assert process.stdout is not None
        try:
            ready = process.stdout.readline()
            assert ready, log.seek(0) or log.read()
            yield WatchedServer(process, ready.split()[-1], port, log)
            process.terminate()
            assert process.wait(WAIT_S * 2) == status
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            if process.stderr is not None:
                process.stderr.close()
