"""What a token costs on the face for clients of the Open Inference Protocol, beside our own protocol."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator

from benchmarks import load, servers
from benchmarks.faces import cpu_seconds, inference_face, own_face
from benchmarks.figures import at_most, median_ratio
from benchmarks.pinning import on_core, pinned, two_cores
from benchmarks.report import SHIPPED, Bench, Table
from service.client.server_process import server_process
from service.pb import translation_pb2 as pb

NUM_CLIENTS = 64
WARM_UP_S, MEASURED_S = 0.5, 2.0
GOAL = 1.3
OWN = "StreamTranslate"


def measure(bench: Bench) -> Iterator[Table]:
    texts = load.Texts(SHIPPED, bench.captions, pb.DecodingOptions())
    faces = {
        OWN: own_face(texts),
        "ModelStreamInfer, raw bytes": inference_face(texts, is_raw=True),
        "ModelStreamInfer, typed": inference_face(texts, is_raw=False),
    }
    servers_core, clients_core = two_cores()
    rates: dict[str, list[float]] = {name: [] for name in faces}
    costs: dict[str, list[float]] = {name: [] for name in faces}
    with (
        server_process(pinned(servers.store(num_processes=1).command, servers_core)) as server,
        on_core(clients_core),
    ):
        for _ in range(bench.rounds):
            for name, client in faces.items():
                before = cpu_seconds(server.pid)
                window = asyncio.run(
                    load.closed_loop_of(
                        server.address, client, num_clients=NUM_CLIENTS, warm_up_s=WARM_UP_S, measured_s=MEASURED_S
                    )
                )
                num_tokens = sum(len(answer.arrivals) for answer in window.answers)
                costs[name].append(1e6 * (cpu_seconds(server.pid) - before) / num_tokens)
                rates[name].append(window.tokens_per_second)
    rows = []
    for name in faces:
        ratio = median_ratio(costs[name], costs[OWN])
        rows.append(
            (
                name,
                f"{statistics.median(rates[name]):,.0f}",
                f"{statistics.median(costs[name]):.0f}",
                f"{ratio:.2f}",
                "" if name == OWN else at_most(ratio, GOAL, " x"),
            )
        )
    yield Table(
        f"{SHIPPED} on one core, {NUM_CLIENTS} clients on another that stream captions, one after another: a token by "
        "either protocol; processor time of the whole server, its steps and encodes included",
        ("method", "tokens/s", "time a token, us", f"to {OWN}", "to reach"),
        rows,
    )
