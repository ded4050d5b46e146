"""When requests come, and how large they are: Poisson, in bursts, or as they were recorded."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

Sizes = Sequence[tuple[int, int]]
"""Source and target tokens of requests, to draw from."""


class Arrival(NamedTuple):
    """One request: when it comes, in seconds from the start, its source tokens and those that it will make."""

    at: float
    source: int
    target: int


@dataclass(frozen=True)
class Bursts:
    """A Markov-modulated Poisson process of two states: calm, and bursts in which `factor` times as much comes. A burst
    lasts `mean_s` seconds on average (exponential), and bursts have a `share` of all time. The mean rate stays.
    (Fischer and Meier-Hellstern 1993, "The Markov-modulated Poisson process (MMPP) cookbook".)"""

    factor: float = 4.0
    share: float = 0.1
    mean_s: float = 5.0


def poisson(rate: float, seconds: float, sizes: Sizes, *, seed: int) -> Iterator[Arrival]:
    """Independent arrivals, `rate` a second on average."""
    return bursty(rate, seconds, sizes, Bursts(factor=1.0), seed=seed)


def bursty(rate: float, seconds: float, sizes: Sizes, bursts: Bursts, *, seed: int) -> Iterator[Arrival]:
    """Begins in a random state."""
    chance = random.Random(seed)
    calm = rate / (1 + bursts.share * (bursts.factor - 1))
    stays = (bursts.mean_s * (1 - bursts.share) / bursts.share, bursts.mean_s)
    is_burst = chance.random() < bursts.share
    at = 0.0
    changes_at = chance.expovariate(1 / stays[is_burst])
    while at < seconds:
        after = at + chance.expovariate(calm * bursts.factor if is_burst else calm)
        if after >= changes_at:  # without memory: what comes after the change is drawn anew
            at, is_burst = changes_at, not is_burst
            changes_at = at + chance.expovariate(1 / stays[is_burst])
            continue
        at = after
        if at < seconds:
            yield Arrival(at, *chance.choice(sizes))


def multiplied(arrivals: Sequence[Arrival], factor: float, *, seed: int) -> list[Arrival]:
    """So many times as many arrivals in the same time: each is left out by chance, or, above 1, stands for a Poisson
    number of them, which come at random times until half way to its neighbours. So the rate follows the recording."""
    chance = random.Random(seed)
    if factor <= 1:
        return [arrival for arrival in arrivals if chance.random() < factor]
    numbers = np.random.default_rng(seed).poisson(factor, len(arrivals)).tolist()
    ends = [arrivals[0].at, *((one.at + other.at) / 2 for one, other in pairwise(arrivals)), arrivals[-1].at]
    found = []
    for arrival, number, (start, end) in zip(arrivals, numbers, pairwise(ends), strict=True):
        found += [arrival._replace(at=at) for at in sorted(chance.uniform(start, end) for _ in range(number))]
    return found


def recorded(path: Path, *, speed: float = 1.0) -> list[Arrival]:
    """The requests of a recording, `speed` times as fast.

    A file .csv has the columns at_s, source_tokens, target_tokens. Any other is what a server has logged with
    `--access-log`: its lines of calls that were answered, which came `total_ms` before they were written.
    Raises OSError, and ValueError where no request is in it.
    """
    read = _from_csv if path.suffix == ".csv" else _from_log
    found = sorted(read(path))
    if not found:
        raise ValueError(f"{path} has no requests")
    return [Arrival((one.at - found[0].at) / speed, one.source, one.target) for one in found]


def _from_csv(path: Path) -> Iterator[Arrival]:
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            yield Arrival(float(row["at_s"]), int(row["source_tokens"]), int(row["target_tokens"]))


def _from_log(path: Path) -> Iterator[Arrival]:
    for line in path.read_text(encoding="utf-8").splitlines():
        call = json.loads(line)
        if call.get("event") == "call" and call["code"] == "OK" and call["num_target_tokens"]:
            ended_at = datetime.fromisoformat(call["timestamp"]).timestamp()
            yield Arrival(
                ended_at - call["total_ms"] / 1_000, max(call["num_source_tokens"], 1), call["num_target_tokens"]
            )
