"""Keeps outputs in a file, one after another, for a process that comes later. It does not know what they are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from export.trace import Outputs


def record(path: Path, outputs: Iterable[Outputs]) -> None:
    """PATH gets the names of each group of arrays, one line of JSON, and the arrays in NumPy's own format."""
    with path.open("wb") as file:
        for group in outputs:
            file.write(json.dumps(list(group)).encode() + b"\n")
            for array in group.values():
                np.save(file, array, allow_pickle=False)


def recorded(path: Path) -> Iterator[Outputs]:
    """What `record` was given, read as it is asked for."""
    with path.open("rb") as file:
        while line := file.readline():
            yield {name: np.load(file, allow_pickle=False) for name in json.loads(line)}
