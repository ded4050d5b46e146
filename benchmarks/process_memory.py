"""What a command and all processes that it starts hold in memory, at the most."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

INTERVAL_S = 0.02
KIB = 1024


def peak_bytes(command: Sequence[str], *, cwd: Path) -> int:
    """The most that the command and its descendants held together, looked at 50 times a second: private memory, and of
    pages that several map their share (PSS). Raises RuntimeError, with what a command said that fails."""
    peak = 0
    with tempfile.TemporaryFile("w+") as said:
        with subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, cwd=cwd) as process:
            while process.poll() is None:
                peak = max(peak, sum(map(_resident_bytes, [process.pid, *_descendants(process.pid)])))
                time.sleep(INTERVAL_S)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(said.read())
    return peak


def _resident_bytes(process: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * KIB
    return 0


def _descendants(process: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *_descendants(child)]
    return found
