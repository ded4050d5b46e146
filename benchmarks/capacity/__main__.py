"""How many replicas a load takes. A replica is one engine with one core to itself.

measure    what a step, an encode and a message cost, by rows, ages and tokens; the costs go to a file
simulate   what requests would see of so many replicas, or the fewest replicas that keep a promise
plan       a table of the replicas needed, from ten to ten thousand, under Poisson, bursty and recorded arrivals
check      the simulation beside two real replicas on two cores
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from benchmarks.__main__ import machine
from benchmarks.capacity import answers
from benchmarks.capacity.arrivals import Bursts
from benchmarks.capacity.balancing import BALANCERS
from benchmarks.capacity.checking import check
from benchmarks.capacity.costs import read_costs, write_costs
from benchmarks.capacity.measuring import measure
from benchmarks.capacity.planning import Promise
from benchmarks.capacity.plans import plans, sampling
from benchmarks.capacity.serving import Model
from benchmarks.report import SHIPPED, Bench, Table
from service.model.bundle import read_manifest

COSTS = Path(__file__).parent / "costs"
BASE = "base"
BASE_TARGET_LENGTH = 24
"""Tokens of every translation of random weights, which end no sentence."""

STEADY, BURSTS, PLANNED_S = Bursts(factor=1.0), Bursts(factor=3.0, share=0.2, mean_s=0.4), 10.0
"""Of the table of plans."""
TRACE, TRACE_SPEED = Path(__file__).parent / "traces" / "azure-llm-2023-conv.csv", 4.0
"""40 s of calls of a language model in production, 18:16:10 to 18:16:50 of the conversations of the Azure LLM inference
trace 2023 (CC-BY; Patel et al. 2024, "Splitwise: Efficient generative LLM inference using phase splitting"); their
times alone, since a translation is not as large as they are."""
SAMPLED_SHARE = 0.5
"""Of what the replicas do at most, where samples of them are compared."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.capacity", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_measure(commands.add_parser("measure", help="measure what a model's work costs here, into a file"))
    _add_simulate(
        commands.add_parser(
            "simulate",
            help="simulate replicas under a load",
            description="Requests come as Poisson arrivals (--rate), in bursts (--rate and --burst-factor), or as "
            "they were recorded (--trace). With --replicas: what they would see. Without: the fewest replicas with "
            "which the promise is kept. The limits of the servers are those of the environment "
            "(STEPSTREAM_MAX_SLOTS, STEPSTREAM_MAX_QUEUE_LENGTH, ...).",
        )
    )
    _add_plan(commands.add_parser("plan", help="the replicas that a promise takes, from ten to ten thousand"))
    _add_check(commands.add_parser("check", help="the simulation beside two real replicas on two cores"))
    options = parser.parse_args(arguments)
    console = Console(width=150, soft_wrap=False)
    started = time.perf_counter()
    try:
        for table in options.run(options):
            table.print_on(console)
    except ValueError as error:
        parser.error(str(error))
    console.print(f"\nTook {time.perf_counter() - started:.0f} s.", highlight=False)
    return 0


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        nargs="?",
        default=SHIPPED,
        help=f"a shipped model, the folder of a version, or `{BASE}`: a Transformer base with random weights "
        f"(default: {SHIPPED})",
    )
    parser.add_argument(
        "--target-length",
        type=int,
        metavar="N",
        help=f"tokens of every translation (default: as the model ends, of `{BASE}`, which never does, "
        f"{BASE_TARGET_LENGTH})",
    )


def _add_measure(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument("--output", type=Path, metavar="FILE", help="of the costs (default: among the committed ones)")
    parser.add_argument("--rounds", type=int, default=2, help="of steps, of which the median is taken (default: 2)")
    parser.set_defaults(run=_measure)


def _measure(options: argparse.Namespace) -> Iterator[Table]:
    with _model(options) as model:
        measured = measure(model, machine(), rounds=options.rounds)
    path: Path = options.output or COSTS / f"{model.name}.json"
    path.parent.mkdir(exist_ok=True)
    write_costs(path, measured.costs)
    yield from measured.tables()


def _add_check(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load (default: 10)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="of the costs (default: nowhere)")
    parser.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> Iterator[Table]:
    with _model(options) as model:
        measured = measure(model, machine(), rounds=1)
        if options.output is not None:
            write_costs(options.output, measured.costs)
        yield from measured.summary()
        yield from check(model, measured.costs, seconds=options.seconds)


def _add_simulate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--costs", type=Path, metavar="FILE", default=COSTS / f"{SHIPPED}.json", help=f"(default: {SHIPPED}'s)"
    )
    load = parser.add_argument_group("load")
    load.add_argument("--rate", type=float, metavar="N", help="requests a second, on average")
    load.add_argument("--seconds", type=float, default=30.0, help="of arrivals; the first fifth is not counted")
    load.add_argument("--burst-factor", type=float, default=1.0, help="how many times as much a burst brings")
    load.add_argument("--burst-share", type=float, default=Bursts.share, help="of the time, that is in bursts")
    load.add_argument("--burst-s", type=float, default=Bursts.mean_s, help="seconds that a burst lasts on average")
    load.add_argument(
        "--trace", type=Path, metavar="FILE", help="a server's log, or a .csv of at_s,source_tokens,target_tokens"
    )
    load.add_argument("--speed", type=float, default=1.0, help="how many times as fast the trace is played")
    replicas = parser.add_argument_group("replicas")
    replicas.add_argument("--replicas", type=int, metavar="N", help="so many; otherwise the fewest that do")
    replicas.add_argument(
        "--balancing", choices=sorted(BALANCERS), default="two-choices", help="(default: two-choices, as Envoy does)"
    )
    _add_promise(parser)
    parser.set_defaults(run=_simulate)


def _add_promise(parser: argparse.ArgumentParser) -> None:
    promise = parser.add_argument_group("promise")
    promise.add_argument("--first-token-ms", type=float, default=100.0, help="p99 (default: 100)")
    promise.add_argument("--gap-ms", type=float, default=50.0, help="p99 (default: 50)")
    promise.add_argument("--refused", type=float, default=0.001, help="share that may be refused (default: 0.001)")
    promise.add_argument("--good", type=float, default=0.99, help="share that must keep both times (default: 0.99)")


def _simulate(options: argparse.Namespace) -> Iterator[Table]:
    costs = read_costs(options.costs)
    if (options.rate is None) == (options.trace is None):
        raise ValueError("either --rate or --trace is needed")
    load: answers.Load
    if options.trace is not None:
        load = answers.Recording(options.trace, costs.sizes, options.speed)
    else:
        bursts = Bursts(options.burst_factor, options.burst_share, options.burst_s)
        load = answers.Arrivals(options.rate, options.seconds, costs.sizes, bursts)
    return answers.answer(costs, load, _promise(options), balancing=options.balancing, num_replicas=options.replicas)


def _promise(options: argparse.Namespace) -> Promise:
    return Promise(options.first_token_ms / 1e3, options.gap_ms / 1e3, options.refused, options.good)


def _add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--costs", type=Path, metavar="FILE", default=COSTS / f"{SHIPPED}.json", help=f"(default: {SHIPPED}'s)"
    )
    parser.add_argument(
        "--trace", type=Path, metavar="FILE", default=TRACE, help=f"as `simulate` takes them (default: {TRACE.stem})"
    )
    parser.add_argument("--speed", type=float, default=TRACE_SPEED, help=f"of the trace (default: {TRACE_SPEED:g})")
    parser.add_argument("--balancing", choices=sorted(BALANCERS), default="two-choices", help="(default: two-choices)")
    _add_promise(parser)
    parser.set_defaults(run=_plan)


def _plan(options: argparse.Namespace) -> Iterator[Table]:
    costs = read_costs(options.costs)
    poisson, bursts = (
        answers.Arrivals(1.0, PLANNED_S, costs.sizes, bursts, names_rate=False) for bursts in (STEADY, BURSTS)
    )
    recording = answers.Recording(options.trace, costs.sizes, options.speed)
    yield plans(costs, (poisson, bursts, recording), _promise(options), balancing=options.balancing)
    yield sampling(costs, bursts, SAMPLED_SHARE, balancing=options.balancing)


@contextmanager
def _model(options: argparse.Namespace) -> Iterator[Model]:
    name: str = options.model
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(1, Path(scratch))
        if name == BASE:
            folder, target_length = bench.base, BASE_TARGET_LENGTH
        else:
            folder, target_length = Path(name) if Path(name).is_dir() else bench.shipped(name), 0
        yield Model(folder, read_manifest(folder).name, bench.captions, options.target_length or target_length)


if __name__ == "__main__":
    raise SystemExit(main())
