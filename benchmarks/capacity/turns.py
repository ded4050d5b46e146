"""Measures how long a thread keeps a core while another one waits for it: the operating system decides."""

from __future__ import annotations

import json
import random
import statistics
import struct
import subprocess
import sys
import time
from contextlib import ExitStack

from benchmarks.pinning import on_core

NUM_WAKES = 200
BETWEEN_S = (0.005, 0.015)
SPIN = "while True: pass"
STAMP = struct.Struct("d")


def measure_turn(core: int, other: int) -> float:
    """Seconds: twice what a process on `core` waits on average, woken from `other` in the middle of a busy one's turn,
    beyond what it waits on a core that is idle."""
    busy, idle = (statistics.mean(_waits(core, other, is_busy=is_busy)) for is_busy in (True, False))
    return max(1e-6, 2 * (busy - idle))


def _waits(core: int, other: int, *, is_busy: bool) -> list[float]:
    chance = random.Random(1)
    with ExitStack() as running:
        with on_core(core):
            if is_busy:
                spinner = running.enter_context(subprocess.Popen((sys.executable, "-c", SPIN)))
                running.callback(spinner.kill)
            command = (sys.executable, "-m", "benchmarks.capacity.turns")
            sleeper = running.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert sleeper.stdin is not None
        assert sleeper.stdout is not None
        sleeper.stdout.readline()
        with on_core(other):
            for _ in range(NUM_WAKES):
                time.sleep(chance.uniform(*BETWEEN_S))
                sleeper.stdin.write(STAMP.pack(time.perf_counter()))
                sleeper.stdin.flush()
        sleeper.stdin.close()
        waits: list[float] = json.loads(sleeper.stdout.read())
        return waits


def _sleep() -> list[float]:
    """What each wake has waited, in seconds."""
    waits = []
    print(flush=True)
    while stamp := sys.stdin.buffer.read(STAMP.size):
        waits.append(time.perf_counter() - STAMP.unpack(stamp)[0])
    return waits


if __name__ == "__main__":
    print(json.dumps(_sleep()))
