"""What a server keeps of the rate of bare loops, and what several processes of it make of one light model."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks import comparison, load, servers
from benchmarks.figures import at_least, median_ratio
from benchmarks.report import RECURRENT, SHIPPED, Bench, Table
from benchmarks.steps import NUM_STEPS
from service.client.server_process import running_server
from service.model.manifest import read_manifest
from service.pb import translation_pb2 as pb

NUM_CLIENTS = 64
NUM_CONNECTIONS = 8
WARM_UP_S = 1.0
MEASURED_S = 3.0
GOAL = 0.85


def measure(bench: Bench) -> Iterator[Table]:
    rows = []
    for label, folder in bench.folders.items():
        loops = comparison.Ours(folder, num_workers=2, num_threads=1)
        bare, served = [], []
        with running_server(servers.ours(folder).command) as address:
            for _ in range(bench.rounds):
                bare.append(comparison.tokens_per_second(loops, comparison.random_sources(NUM_CLIENTS), beam_size=1))
                served.append(_messages_per_second(address, _texts(bench, folder)))
        ratio = median_ratio(served, bare)
        rates = (f"{statistics.median(each):,.0f}" for each in (bare, served))
        rows.append((label, *rates, f"{ratio:.2f}", at_least(ratio, GOAL)))
    yield Table(
        f"Server with {NUM_CLIENTS} clients streaming at once, one message a step, beside two bare loops of "
        "half the rows",
        ("model", "bare loops, tokens/s", "server, messages/s", "server / bare loops", "to reach"),
        rows,
    )
    yield _processes(bench)


def _processes(bench: Bench) -> Table:
    """The shipped models in one process and in two, both with all models of the store."""
    folders = {SHIPPED: bench.shipped(SHIPPED), RECURRENT: bench.shipped(RECURRENT)}
    rows = []
    with ExitStack() as running:
        addresses = [running.enter_context(running_server(servers.store(num_processes=n).command)) for n in (1, 2)]
        for label, folder in folders.items():
            texts = _texts(bench, folder)
            rounds = [[_messages_per_second(address, texts) for address in addresses] for _ in range(bench.rounds)]
            one, two = zip(*rounds, strict=True)
            rates = (f"{statistics.median(each):,.0f}" for each in (one, two))
            rows.append((label, *rates, f"{median_ratio(two, one):.2f}"))
    return Table(
        f"The same clients over {NUM_CONNECTIONS} connections, served by one process and by two (`--num-processes 2`)",
        ("model", "one process, messages/s", "two processes, messages/s", "two / one"),
        rows,
    )


def _texts(bench: Bench, folder: Path) -> load.Texts:
    return load.Texts(read_manifest(folder).name, bench.captions, pb.DecodingOptions(max_length=NUM_STEPS))


def _messages_per_second(address: str, texts: load.Texts) -> float:
    return asyncio.run(_of_all_connections(address, texts))


async def _of_all_connections(address: str, texts: load.Texts) -> float:
    windows = await asyncio.gather(
        *(
            load.closed_loop(
                address,
                texts,
                load.stream,
                num_clients=NUM_CLIENTS // NUM_CONNECTIONS,
                warm_up_s=WARM_UP_S,
                measured_s=MEASURED_S,
            )
            for _ in range(NUM_CONNECTIONS)
        )
    )
    return sum(window.tokens_per_second for window in windows)
