"""`python -m hostile.fuzz.parsing STORE [--break FILE]... -- [libFuzzer's options]`: coverage-guided fuzzing of a
request's way from bytes to tokens (libFuzzer through atheris). A crash is any exception that is no ServiceError, and a
status whose details tell of the inside.
"""

from __future__ import annotations

import argparse
import random
import runpy
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["service", "google.protobuf"], exclude=["service.pb"], enable_loader_override=False
):
    import service.server  # noqa: F401

from google.protobuf.message import DecodeError

from hostile.fuzz.in_process import REACHED, InProcess
from hostile.fuzz.inputs import LONGEST, join, split
from hostile.methods import METHODS
from hostile.requests import fill_request
from hostile.serving import BREAK
from hostile.verdicts import told_internals


class CrashError(Exception):
    """A request got what no request may get."""


class Target:
    """What libFuzzer calls. Counts what reached the engine, and statuses."""

    def __init__(self, store: Path) -> None:
        self._server = InProcess(store)
        self.counts: dict[str, int] = {}

    def __call__(self, data: bytes) -> None:
        """Raises CrashError, or whatever the server raised."""
        if not data:
            return
        method, requests = split(data)
        for status in self._server.call(method, requests):
            outcome = "reached the engine" if status.details == REACHED else status.code.name
            self.counts[outcome] = self.counts.get(outcome, 0) + 1
            if status.code not in method.permitted:
                raise CrashError(f"{method.path}: {status.code.name}: {status.details}")
            if what := told_internals(status.details):
                raise CrashError(f"{method.path}: {status.code.name} tells {what}: {status.details}")


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """libFuzzer's mutation of the bytes, or the same message with some fields anew, or another message."""
    order = random.Random(seed)
    if not data or order.random() < 0.5:
        return bytes(atheris.Mutate(data, max_size))
    method, requests = split(data)
    if not requests or order.random() < 0.2:
        method = order.choice(METHODS)
        return join(method, method.requests(order))[:max_size]
    changed = list(requests)
    place = order.randrange(len(changed))
    message = method.request()
    try:
        message.MergeFromString(changed[place])
    except DecodeError:
        return bytes(atheris.Mutate(data, max_size))
    changed[place] = fill_request(message, order, share=0.1).SerializeToString()
    return join(method, tuple(changed))[:max_size]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hostile.fuzz.parsing", description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument(BREAK, type=Path, action="append", default=[], dest="broken_by")
    options, fuzzer_options = parser.parse_known_args()
    for path in options.broken_by:
        runpy.run_path(str(path))
    target = Target(options.store)
    atheris.Setup(
        [sys.argv[0], f"-max_len={LONGEST}", "-print_final_stats=1", *fuzzer_options], target, custom_mutator=mutate
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
