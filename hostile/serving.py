"""`python -m hostile.serving [--break FILE]... serve ...`: the command `stepstream` in a process to be looked into.

A line on stdin is answered by a line on stdout: what glibc's allocator holds, as JSON, in bytes. FILE is Python that
runs before the command does: how a control breaks the server. The process ends when stdin does: none is left behind.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import runpy
import signal
import sys
import threading

from service.cli import main

BREAK = "--break"


_FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class _MallInfo(ctypes.Structure):
    """struct mallinfo2 of malloc.h (glibc 2.33), all fields size_t."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in _FIELDS)


def allocated() -> dict[str, int]:
    """Bytes in use of all heaps, and of blocks mapped one by one; empty where the C library does not tell."""
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return {}
    mallinfo2.restype = _MallInfo
    info = mallinfo2()
    return {"heap": info.uordblks, "mapped": info.hblkhd}


def _answer() -> None:
    for line in sys.stdin:
        if line.strip() == "collect":
            gc.collect()
        sys.stdout.write(json.dumps(allocated()) + "\n")
        sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    while arguments and arguments[0] == BREAK:
        runpy.run_path(arguments[1])
        arguments = arguments[2:]
    threading.Thread(target=_answer, name="looked-into", daemon=True).start()
    raise SystemExit(main(arguments))
