"""A server in a process of its own, whose log and memory a test reads."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from service.client.server_process import READY_LINE

STOP_S = 60.0


@dataclass(frozen=True)
class Started:
    """A server that is ready."""

    address: str
    pid: int
    log: Path
    metrics_port: int

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def records(self) -> list[dict[str, Any]]:
        """What it has logged; a line that is no JSON object fails."""
        return [json.loads(line) for line in self.log.read_bytes().split(b"\n") if line]

    def metric(self, name: str, **labels: str) -> float:
        """The value of a metric, 0 where it has none yet."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=60) as response:
            families = list(text_string_to_metric_families(response.read().decode()))
        found = [s.value for f in families for s in f.samples if (s.name, s.labels) == (name, labels)]
        return found[0] if found else 0.0

    def resident_bytes(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024


@contextmanager
def started(command: Sequence[str], log: Path) -> Iterator[Started]:
    """Start a server, and stop it at the end."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        metrics_port = unused.getsockname()[1]
    command = (*command, "--metrics-port", str(metrics_port))
    with log.open("w") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            ready = READY_LINE.fullmatch(line)
            assert ready, (line, log.read_text())
            yield Started(ready.group(2), process.pid, log, metrics_port)
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            finally:
                process.kill()
                process.stdout.close()
