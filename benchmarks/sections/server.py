"""What a server keeps of the rate of bare loops."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator

from benchmarks import comparison, load, servers
from benchmarks.figures import at_least, median_ratio
from benchmarks.report import Bench, Table
from benchmarks.steps import NUM_STEPS
from service.client.server_process import running_server
from service.model.manifest import read_manifest
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
        bare, served = [], []
        with running_server(servers.ours(folder).command) as address:
            for _ in range(bench.rounds):
                bare.append(comparison.tokens_per_second(loops, comparison.random_sources(NUM_CLIENTS), beam_size=1))
                window = asyncio.run(
                    load.closed_loop(
                        address, texts, load.stream, num_clients=NUM_CLIENTS, warm_up_s=WARM_UP_S, measured_s=MEASURED_S
                    )
                )
                served.append(window.tokens_per_second)
        ratio = median_ratio(served, bare)
        rates = (f"{statistics.median(bare):,.0f}", f"{statistics.median(served):,.0f}", f"{ratio:.2f}")
        rows.append((label, *rates, at_least(ratio, GOAL)))
    yield Table(
        f"Server with {NUM_CLIENTS} clients streaming at once, one message a step, beside two bare loops of "
        "half the rows",
        ("model", "bare loops, tokens/s", "server, messages/s", "server / bare loops", "to reach"),
        rows,
    )
