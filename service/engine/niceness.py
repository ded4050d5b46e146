"""Who goes first where threads of a server want the same core."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

NICENESS = 10
"""Of an engine's thread, above the process's own: whoever is refused, or asks for health, need not wait for a step."""


def be_nicer() -> None:
    """Give way to the process's other threads, where a thread has a niceness of its own: setpriority(2) on Linux."""
    if sys.platform != "linux":
        return
    thread = threading.get_native_id()
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)
