"""Which stages a load has. A ramp decides on each by what came of the last; it finds the knee. It sends nothing."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeAlias

from service.client.load.arrivals import poisson_arrivals, trace_arrivals
from service.client.load.fleet import Played
from service.client.load.scenario import Closed, Poisson, Ramp, Trace
from service.client.load.stage import Stage

Plan: TypeAlias = Generator[Stage, Played, None]
"""Gives a stage and is sent what came of it, until there is none left."""


def plan(load: Closed | Poisson | Trace | Ramp, seed: int) -> Plan:
    """The stages of a load; raises InvalidRequestError or OSError for a trace that cannot be read."""
    match load:
        case Closed():
            yield Stage(
                f"{load.clients} clients",
                load.warm_up_s + load.duration_s,
                load.warm_up_s,
                num_clients=load.clients,
            )
        case Poisson():
            yield poisson_stage(load.rate, load.duration_s, load.warm_up_s, seed)
        case Trace():
            arrivals = trace_arrivals(load.file.read_text(encoding="utf-8").splitlines(), speed=load.speed)
            duration_s = max(arrivals[-1], 1.0)
            rate = len(arrivals) / duration_s
            yield Stage(f"trace {load.file.name}", duration_s, load.warm_up_s, tuple(arrivals), rate=rate)
        case Ramp():
            yield from _ramp(load, seed)


def _ramp(load: Ramp, seed: int) -> Plan:
    rate, held, failed = load.start_rate, 0.0, 0.0
    num_refined = 0
    while rate <= load.max_rate and num_refined <= load.refinements:
        seed += 1
        stage = poisson_stage(rate, load.stage_s, load.warm_up_s, seed)
        if holds((yield stage), load):
            held = rate
        else:
            failed = rate
        if failed:
            num_refined += 1
            rate = (held + failed) / 2
        else:
            rate *= load.growth


def poisson_stage(rate: float, counted_s: float, warm_up_s: float, seed: int) -> Stage:
    """Poisson arrivals, for counted_s seconds that count after those that do not."""
    rate = float(f"{rate:.3g}")
    duration_s = warm_up_s + counted_s
    arrivals = tuple(poisson_arrivals(rate, duration_s, seed))
    return Stage(f"{rate:g} a second", duration_s, warm_up_s, arrivals, rate=rate)


def holds(played: Played, load: Ramp) -> bool:
    """Whether enough of the requests that arrived were answered well."""
    return played.tally.num_good >= load.good_share * played.tally.num_sent


def find_knee(stages: Sequence[Played], load: Ramp) -> Played | None:
    """The stage of the greatest rate that held, of all rates below the first that did not; None where none did."""
    best = None
    for played in sorted(stages, key=lambda one: one.stage.rate or 0.0):
        if not holds(played, load):
            break
        best = played
    return best
