"""A server in a process of its own, whose log and memory a test reads."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.client.server_process import READY_LINE

STOP_S = 60.0


@dataclass(frozen=True)
class Started:
    """A server that is ready."""

    address: str
    pid: int
    log: Path

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def records(self) -> list[dict[str, Any]]:
        """What it has logged; a line that is no JSON object fails."""
        return [json.loads(line) for line in self.log.read_bytes().split(b"\n") if line]

    def resident_bytes(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024


@contextmanager
def started(command: Sequence[str], log: Path) -> Iterator[Started]:
    """Start a server, and stop it at the end."""
    with log.open("w") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            ready = READY_LINE.fullmatch(line)
            assert ready, (line, log.read_text())
            yield Started(ready.group(1), process.pid, log)
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            finally:
                process.kill()
                process.stdout.close()
