"""How a process ends that will not end by itself: at a second signal, or when its time is up."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType


def exit_at_once_at(signals: Sequence[signal.Signals]) -> None:
    """From now on each of these signals ends the process with status 128 + its number, whatever runs."""
    for number in signals:
        signal.signal(number, _exit)  # the default action would not end process 1 of a container


def _exit(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)


def exit_after(seconds: float) -> None:
    """End the process with status 1 after so many seconds, unless it ends before; stderr then tells where every thread
    was. This clock needs neither the event loop nor the interpreter's lock."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or 2)
