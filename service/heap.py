"""Gives freed memory back to the system: glibc alone would keep much of what a model's sessions took."""

from __future__ import annotations

import ctypes


def trim() -> None:
    """Does nothing where the C library is not glibc. Takes milliseconds; not for the event loop."""
    if (malloc_trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        malloc_trim(0)
