"""What a command and all processes that it starts hold in memory, at the most."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

INTERVAL_S = 0.02
KIB = 1024


@dataclass(frozen=True)
class Peaks:
    """Bytes: of all processes together, and of each alone, by its name, in the order in which they began."""

    together: int
    each: dict[str, int]


def peaks(command: Sequence[str], *, cwd: Path) -> Peaks:
    """The most that the command and its descendants held, looked at 50 times a second: private memory, and of
    pages that several map their share (PSS). Raises RuntimeError, with what a command said that fails."""
    together, each = 0, dict[str, int]()
    with tempfile.TemporaryFile("w+") as said:
        with subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, cwd=cwd) as process:
            while process.poll() is None:
                held = {one: _resident_bytes(one) for one in (process.pid, *_descendants(process.pid))}
                together = max(together, sum(held.values()))
                for one, size in held.items():
                    name = _name(one)
                    each[name] = max(each.get(name, 0), size)
                time.sleep(INTERVAL_S)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(said.read())
    return Peaks(together, each)


def _name(process: int) -> str:
    """The module that it runs by `-m`, or the name that it has given itself."""
    with suppress(OSError, ValueError):
        words = Path(f"/proc/{process}/cmdline").read_text().split("\0")
        return words[words.index("-m") + 1]
    with suppress(OSError):
        return Path(f"/proc/{process}/comm").read_text().strip()
    return "gone"


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
