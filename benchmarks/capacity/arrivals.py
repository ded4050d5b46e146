"""When requests come, and how large they are: Poisson, in bursts, or as they were recorded."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

Sizes = Sequence[tuple[int, int]]
"""Source and target tokens of requests, to draw from."""
RATE_S = 2.0
"""Seconds of a recording whose rate is taken to be the same."""


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
    """Begins in a random state. The seed alone says when bursts are, whatever the rate."""
    chance, states = random.Random(seed), random.Random(f"states {seed}")
    calm = rate / (1 + bursts.share * (bursts.factor - 1))
    stays = (bursts.mean_s * (1 - bursts.share) / bursts.share, bursts.mean_s)
    is_burst = states.random() < bursts.share
    at = 0.0
    changes_at = states.expovariate(1 / stays[is_burst])
    while at < seconds:
        after = at + chance.expovariate(calm * bursts.factor if is_burst else calm)
        if after >= changes_at:  # without memory: what comes after the change is drawn anew
            at, is_burst = changes_at, not is_burst
            changes_at = at + states.expovariate(1 / stays[is_burst])
            continue
        at = after
        if at < seconds:
            yield Arrival(at, *chance.choice(sizes))


def multiplied(arrivals: Sequence[Arrival], factor: float, *, seed: int) -> list[Arrival]:
    """So many times as many arrivals in the same time: below 1 each is left out by chance; above 1 they are a Poisson
    process whose rate is that of each RATE_S seconds of the recording, and as large as those that came then."""
    chance = random.Random(seed)
    if factor <= 1:
        return [arrival for arrival in arrivals if chance.random() < factor]
    end, found = arrivals[-1].at, []
    for number, group in groupby(arrivals, lambda arrival: int(arrival.at / RATE_S)):
        then = list(group)
        start, seconds = number * RATE_S, min(RATE_S, end - number * RATE_S)
        at = start + chance.expovariate(factor * len(then) / seconds) if seconds else end
        while at < start + seconds:
            found.append(chance.choice(then)._replace(at=at))
            at += chance.expovariate(factor * len(then) / seconds)
    return found


def recorded(path: Path, sizes: Sizes, *, speed: float = 1.0) -> list[Arrival]:
    """The requests of a recording, `speed` times as fast.

    A file .csv has the columns at_s, source_tokens, target_tokens, or the first alone; sizes are drawn then. Any other
    is what a server has logged with `--access-log`: its lines of calls that were answered, which came `total_ms` before
    they were written. Raises OSError, and ValueError where no request is in it.
    """
    found = sorted(_from_csv(path, sizes) if path.suffix == ".csv" else _from_log(path))
    if not found:
        raise ValueError(f"{path} has no requests")
    return [Arrival((one.at - found[0].at) / speed, one.source, one.target) for one in found]


def _from_csv(path: Path, sizes: Sizes) -> Iterator[Arrival]:
    chance = random.Random(1)
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            is_sized = "target_tokens" in row
            size = (int(row["source_tokens"]), int(row["target_tokens"])) if is_sized else chance.choice(sizes)
            yield Arrival(float(row["at_s"]), *size)


def _from_log(path: Path) -> Iterator[Arrival]:
    for line in path.read_text(encoding="utf-8").splitlines():
        call = json.loads(line)
        if call.get("event") == "call" and call["code"] == "OK" and call["num_target_tokens"]:
            ended_at = datetime.fromisoformat(call["timestamp"]).timestamp()
            yield Arrival(
                ended_at - call["total_ms"] / 1_000, max(call["num_source_tokens"], 1), call["num_target_tokens"]
            )
