"""Runs a function in a process of its own, whose memory the system has back when it ends."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

from export.errors import PublishError

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def separately(function: Callable[_Given, _Result], *given: _Given.args, **named: _Given.kwargs) -> _Result:
    """What the function returns, or raises; it and all that it is given can be pickled. Raises PublishError where the
    process is killed, such as for want of memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(function, *given, **named).result()
        except BrokenProcessPool as error:
            raise PublishError(
                f"the process that ran {function.__name__} was killed; is there memory for it?"
            ) from error
