"""How soon the first token comes when the server has half the load that it can bear."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import load, servers
from benchmarks.figures import at_most, percentile
from benchmarks.report import BASE, SHIPPED, Bench, Table
from benchmarks.sections.serving import FIXED_LENGTH, NUM_CLIENTS
from service.client.load.arrivals import poisson_arrivals
from service.client.server_process import running_server
from service.model.onnx_model import OnnxModel
from service.model.slots import Slots
from service.model.text import open_texts
from service.pb import translation_pb2 as pb

WARM_UP_S = 1.0
SATURATED_S = 3.0
OPEN_S = 6.0
GOAL_STEPS = 3.0
ENCODES = 20


def measure(bench: Bench) -> Iterator[Table]:
    rows = []
    for label, folder, options in (
        (SHIPPED, bench.shipped(SHIPPED), pb.DecodingOptions()),
        (BASE, bench.base, FIXED_LENGTH),
    ):
        model = OnnxModel(folder, num_threads=1)
        texts = load.Texts(model.manifest.name, bench.captions, options)
        encode_ms = 1e3 * _encode_seconds(model, folder, bench.captions)
        with running_server(servers.ours(folder).command) as address:
            saturating = _saturating_rate(address, texts, bench.rounds)
            windows = [
                asyncio.run(
                    load.open_loop(address, texts, load.stream, poisson_arrivals(saturating / 2, OPEN_S, number))
                )
                for number in range(bench.rounds)
            ]
        firsts = [window.first_token_seconds() for window in windows]
        p50, p99 = (1e3 * statistics.median(percentile(each, share) for each in firsts) for share in (0.5, 0.99))
        step_ms = 1e3 * statistics.median(statistics.median(window.seconds_between_tokens()) for window in windows)
        bound = GOAL_STEPS * step_ms + encode_ms
        in_steps = (p99 - encode_ms) / step_ms
        rows.append(
            (
                *(label, f"{saturating:.1f}", f"{saturating / 2:.1f}", f"{step_ms:.2f}", f"{encode_ms:.2f}"),
                *(f"{p50:.1f}", f"{p99:.1f}", f"{in_steps:.1f} steps + encode", at_most(p99, round(bound, 1), " ms")),
            )
        )
    yield Table(
        f"First token at half of the load that saturates the server, Poisson arrivals, captions, in ms; saturated: "
        f"requests/s of {NUM_CLIENTS} clients in a closed loop; step: the median time between a client's tokens under "
        f"this load; encode: a caption alone on one thread; to reach: {GOAL_STEPS:g} steps + encode",
        ("model", "saturated", "load", "step", "encode", "first token, p50", "p99", "p99 is", "to reach"),
        rows,
        ("p99 is", "to reach"),
    )


def _saturating_rate(address: str, texts: load.Texts, rounds: int) -> float:
    """Requests a second."""
    windows = [
        asyncio.run(
            load.closed_loop(
                address, texts, load.stream, num_clients=NUM_CLIENTS, warm_up_s=WARM_UP_S, measured_s=SATURATED_S
            )
        )
        for _ in range(rounds)
    ]
    return statistics.median(window.requests_per_second for window in windows)


def _encode_seconds(model: OnnxModel, folder: Path, captions: list[str]) -> float:
    """The median time of encoding one caption."""
    texts, slots = open_texts(model.manifest, folder), Slots(model, 1)
    times = []
    for caption in captions[:ENCODES]:
        source = texts.read(caption).ids
        started = time.perf_counter()
        slots.encode([source])
        times.append(time.perf_counter() - started)
    return statistics.median(times)
