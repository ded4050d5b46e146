"""Who goes first where threads of a server want the same core."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress


def be_nicer(niceness: int) -> None:
    """Add to this thread's niceness, where a thread has one of its own: setpriority(2) on Linux."""
    if sys.platform != "linux":
        return
    thread = threading.get_native_id()
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + niceness)
