"""Runs a function in a process of its own, whose memory the system has back when it ends."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

from export.errors import PublishError
from service.heap import return_large_blocks, trim

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def separately(function: Callable[_Given, _Result], *given: _Given.args, **named: _Given.kwargs) -> _Result:
    """What the function returns, or raises; it and all that it is given can be pickled. This process gives back what
    it has freed, since it waits. Raises PublishError where the other one is killed, such as for want of memory."""
    trim()
    name = function.__name__.strip("_")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_begin, initargs=(name,)) as pool:
        try:
            return pool.submit(function, *given, **named).result()
        except BrokenProcessPool as error:
            raise PublishError(f"the process of {name} was killed; is there memory for it?") from error


def _begin(name: str) -> None:
    """name: what `ps` shows of this process, where Linux lets it choose."""
    return_large_blocks()
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name, encoding="utf-8")
