"""What a server keeps of the rate of bare loops."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from benchmarks import comparison, load, servers
from benchmarks.figures import at_least, median_ratio
from benchmarks.report import Bench, Table
from benchmarks.steps import NUM_STEPS
from service.client.server_process import running_server
from service.model.bundle import read_manifest
from service.pb import translation_pb2 as pb

NUM_CLIENTS = 64
WARM_UP_S = 1.0
MEASURED_S = 3.0
GOAL = 0.85


def measure(bench: Bench) -> Iterator[Table]:
    rows = []
    for label, folder in bench.folders.items():
        loops = comparison.Ours(folder, num_workers=2, num_threads=1)
        texts = load.Texts(read_manifest(folder).name, bench.captions, pb.DecodingOptions(max_length=NUM_STEPS))
        bare, served, divided = [], [], []
        with ExitStack() as running:
            one, *more = [running.enter_context(running_server(servers.ours(folder).command)) for _ in range(3)]
            for _ in range(bench.rounds):
                bare.append(comparison.tokens_per_second(loops, comparison.random_sources(NUM_CLIENTS), beam_size=1))
                served.append(asyncio.run(_messages_per_second([one], texts)))
                divided.append(asyncio.run(_messages_per_second(more, texts)))
        ratio = median_ratio(served, bare)
        rates = (f"{statistics.median(each):,.0f}" for each in (bare, served, divided))
        rows.append((label, *rates, f"{ratio:.2f}", at_least(ratio, GOAL)))
    yield Table(
        f"Server with {NUM_CLIENTS} clients streaming at once, one message a step, beside two bare loops of "
        "half the rows, and beside two servers with half the clients each",
        (
            "model",
            "bare loops, tokens/s",
            "server, messages/s",
            "two servers, messages/s",
            "server / bare loops",
            "to reach",
        ),
        rows,
    )


async def _messages_per_second(addresses: Sequence[str], texts: load.Texts) -> float:
    """Of all clients, divided among the servers."""
    windows = await asyncio.gather(
        *(
            load.closed_loop(
                address,
                texts,
                load.stream,
                num_clients=NUM_CLIENTS // len(addresses),
                warm_up_s=WARM_UP_S,
                measured_s=MEASURED_S,
            )
            for address in addresses
        )
    )
    return sum(window.tokens_per_second for window in windows)
