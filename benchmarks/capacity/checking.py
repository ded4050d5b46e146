"""The simulation beside what it simulates: two replicas and their clients on two cores.

Each core has one replica and one process of clients, whose calls go to both replicas in turn. Threads that share a core
disturb each other, and cores that share a cache do: so here the costs of serving and of the clients are measured anew,
with both cores busy.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.capacity.clients import Traffic, run_clients, sent
from benchmarks.capacity.costs import Costs
from benchmarks.capacity.meter import Meter
from benchmarks.capacity.planning import FULL_ROWS
from benchmarks.capacity.serving import Model, measure_serving, sentence_file, served, serving_cost
from benchmarks.capacity.simulation import WARM_UP_SHARE, Plan, simulate
from benchmarks.faces import cpu_seconds
from benchmarks.figures import percentile
from benchmarks.load import Window
from benchmarks.report import Table

CORES = (0, 1)
LOADS = (0.2, 0.4, 0.6, 0.8)
"""Of what the replicas could do at FULL_ROWS rows, by their costs."""


@dataclass(frozen=True)
class Figures:
    """Times in seconds."""

    busy: float
    """Share of all cores' time that the replicas and their clients worked."""
    tokens_per_second: float
    first_p50: float
    first_p99: float
    gap_p50: float
    gap_p99: float
    refused: float
    """Share of the requests."""


def check(model: Model, costs: Costs, *, seconds: float) -> Iterator[Table]:
    """Each load for so many seconds."""
    with ExitStack() as running:
        servers = [running.enter_context(served(model, core)) for core in CORES]
        found, clients = measure_serving(servers, model, costs, cores=CORES)
        shared = costs.model_copy(update={"serving": serving_cost(found), "client": serving_cost(clients)})
        address = ",".join(server.address for server in servers)
        sentences = running.enter_context(sentence_file(model))
        rows: list[tuple[str, ...]] = []
        for load in LOADS:
            rate = load * len(CORES) / (shared.request_seconds(FULL_ROWS) + shared.client_seconds(FULL_ROWS))
            each = [
                (
                    core,
                    Traffic(
                        address, model.name, sentences, seconds, 0, rate / len(CORES), model.target_length, 0, core
                    ),
                )
                for core in CORES
            ]
            before = sum(cpu_seconds(server.pid) for server in servers)
            ran = run_clients(each)
            busy_s = sum(cpu_seconds(server.pid) for server in servers) - before + sum(one.cpu_s for one in ran)
            real = real_figures([one.window for one in ran], seconds, busy_s)
            arrivals = sorted(arrival for _, traffic in each for arrival in sent(traffic, shared.sizes))
            plan = Plan(len(CORES), "round-robin", near_callers=True)
            meter = simulate(plan, shared, arrivals, seconds=seconds)
            rows += _rows(load, rate, real, simulated_figures(meter))
    yield _cost_table(costs, shared)
    yield Table(
        f"{costs.model}: {len(CORES)} replicas on {len(CORES)} cores, with their clients, for {seconds:.0f} s a load, "
        f"beside the simulation of the same requests; Poisson arrivals, which the clients send to both in turn",
        ("load", "", "measured", "simulated", "error"),
        rows,
        texts=("",),
    )


def real_figures(windows: Sequence[Window], seconds: float, busy_s: float) -> Figures:
    """Of the requests sent after the time to warm up, and the tokens that arrived after it, to the last arrival."""
    start = max(window.start for window in windows)
    counted = Window(start + WARM_UP_SHARE * seconds, start + seconds, [a for w in windows for a in w.answers])
    sent = [answer for answer in counted.answers if answer.sent_at >= counted.start]
    firsts = [answer.arrivals[0] - answer.sent_at for answer in sent if answer.arrivals]
    gaps = counted.seconds_between_tokens()
    return Figures(
        busy_s / len(CORES) / max(window.end - window.start for window in windows),
        counted.tokens_per_second,
        percentile(firsts, 0.5),
        percentile(firsts, 0.99),
        statistics.median(gaps),
        percentile(gaps, 0.99),
        1 - len(firsts) / len(sent),
    )


def simulated_figures(meter: Meter) -> Figures:
    """Of the same."""
    return Figures(
        meter.core_seconds / len(CORES) / meter.end,
        meter.num_tokens / (meter.end - meter.start),
        meter.first_tokens.percentile(0.5),
        meter.first_tokens.percentile(0.99),
        meter.gaps.percentile(0.5),
        meter.gaps.percentile(0.99),
        meter.num_refused / meter.num_arrived,
    )


def _rows(load: float, rate: float, real: Figures, simulated: Figures) -> Iterator[tuple[str, ...]]:
    pairs = (
        ("cores busy, %", 100 * real.busy, 100 * simulated.busy),
        ("tokens/s", real.tokens_per_second, simulated.tokens_per_second),
        ("first token, p50 ms", 1e3 * real.first_p50, 1e3 * simulated.first_p50),
        ("first token, p99 ms", 1e3 * real.first_p99, 1e3 * simulated.first_p99),
        ("gap, p50 ms", 1e3 * real.gap_p50, 1e3 * simulated.gap_p50),
        ("gap, p99 ms", 1e3 * real.gap_p99, 1e3 * simulated.gap_p99),
        ("refused, %", 100 * real.refused, 100 * simulated.refused),
    )
    for number, (name, measured, computed) in enumerate(pairs):
        head = f"{load:.0%}: {rate:.1f} requests/s" if number == 0 else ""
        yield head, name, _figure(measured), _figure(computed), f"{computed / measured - 1:+.0%}" if measured else ""


def _cost_table(costs: Costs, shared: Costs) -> Table:
    pairs = (
        ("serving, each step", costs.serving.step, shared.serving.step),
        ("serving, each token", costs.serving.token, shared.serving.token),
        ("serving, each request", costs.serving.request, shared.serving.request),
        ("a client, each step", costs.client.step, shared.client.step),
        ("a client, each token", costs.client.token, shared.client.token),
        ("a client, each request", costs.client.request, shared.client.request),
    )
    return Table(
        f"{costs.model}: serving, and its clients, each on a core of their own, and on the same",
        ("", "apart, us", "together, us"),
        [(name, f"{1e6 * apart:,.0f}", f"{1e6 * together:,.0f}") for name, apart, together in pairs],
    )


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
