"""Ends a process whose threads may never end by themselves."""

from __future__ import annotations

import os
import sys
import threading

FAILED_LIMIT_S = 4.0
"""What a process has to end in good order after a fault."""


def exit_at_once(status: int) -> None:
    """With what was written, without waiting for any thread: one may be in a graph that does not end."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def exit_soon(status: int) -> None:
    """`exit_at_once` after FAILED_LIMIT_S, unless the process has ended by then."""
    timer = threading.Timer(FAILED_LIMIT_S, exit_at_once, (status,))
    timer.daemon = True
    timer.start()
