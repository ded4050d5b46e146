"""Keeps the two sides of a measurement on cores of their own, so that neither takes time from the other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


def two_cores() -> tuple[int, int]:
    """One for the server and one for who asks it; the same where there is no other."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[0], cores[-1]


def pinned(command: Sequence[str], core: int) -> tuple[str, ...]:
    """A command that runs on one core."""
    return ("taskset", "--cpu-list", str(core), *command)


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """This thread, and those it starts, run on one core for as long as the block runs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
