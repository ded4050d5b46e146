"""Gives freed memory back to the system: glibc alone would keep much of what a model's sessions took."""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3
"""Of malloc.h."""
LARGE = 2**20
"""Bytes."""


def trim() -> None:
    """Does nothing where the C library is not glibc. Takes milliseconds; not for the event loop."""
    if (malloc_trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        malloc_trim(0)


def return_large_blocks() -> None:
    """From now on every large block comes from the system and goes back to it when it is freed, which takes time:
    for processes whose peak matters more. Does nothing where the C library is not glibc."""
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE)
