"""The same weights in fp32 on a GPU and on all cores of its machine."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import onnxruntime

from benchmarks import load, servers
from benchmarks.comparison import TARGET_LENGTH
from benchmarks.report import Bench, LeftOutError, Table
from benchmarks.sections.serving import FIXED_LENGTH, MEASURED_S, WARM_UP_S, Figures, streaming_figures
from benchmarks.steps import NUM_STEPS, SOURCE_LENGTH, BareLoop
from service.client.server_process import running_server
from service.model.bundle import read_manifest
from service.model.onnx_model import OnnxModel
from service.settings import PROVIDERS, parse_providers

ROWS = (1, 8, 64, 256)
NUM_CLIENTS = (1, 64)
FIGURES = {"rate": "tokens/s", "first p50": "first token, p50 ms", "step": "between tokens, median ms"}


def measure(bench: Bench) -> Iterator[Table]:
    if PROVIDERS["cuda"] not in onnxruntime.get_available_providers():
        raise LeftOutError("this onnxruntime has no CUDAExecutionProvider")
    yield _steps(bench)
    yield _served(bench)


def _steps(bench: Bench) -> Table:
    loops = {
        (name, provider, rows): BareLoop(model, rows)
        for name, folder in bench.in_fp32.items()
        for provider in PROVIDERS
        for model in [OnnxModel(folder, providers=parse_providers((provider,)), num_threads=0)]
        for rows in ROWS
    }
    rates: dict[tuple[str, str, int], list[float]] = {key: [] for key in loops}
    for loop in loops.values():
        loop.tokens_per_second()
    for _ in range(bench.rounds):
        for key, loop in loops.items():
            rates[key].append(loop.tokens_per_second())
    return Table(
        f"Decoder step in fp32, tokens/s in a bare loop, source {SOURCE_LENGTH}, {NUM_STEPS} steps",
        ("model", "provider", *(f"{rows} rows" for rows in ROWS)),
        [
            (name, provider, *(f"{statistics.median(rates[name, provider, rows]):,.0f}" for rows in ROWS))
            for name in bench.in_fp32
            for provider in PROVIDERS
        ],
        texts=("provider",),
    )


def _served(bench: Bench) -> Table:
    found: dict[tuple[str, str, int], list[Figures]] = {}
    for name, folder in bench.in_fp32.items():
        with ExitStack() as running:
            addresses = {
                provider: running.enter_context(running_server(servers.ours(folder, provider=provider).command))
                for provider in PROVIDERS
            }
            for _ in range(bench.rounds):
                for provider, address in addresses.items():
                    for number in NUM_CLIENTS:
                        found.setdefault((name, provider, number), []).append(_streamed(bench, folder, address, number))
    return Table(
        f"A server in fp32, captions into {TARGET_LENGTH} tokens each over gRPC",
        ("model", "provider", "clients", *FIGURES.values()),
        [
            (name, provider, str(number), *(f"{statistics.median(one[key] for one in rounds):,.2f}" for key in FIGURES))
            for (name, provider, number), rounds in found.items()
        ],
        texts=("provider",),
    )


def _streamed(bench: Bench, folder: Path, address: str, num_clients: int) -> Figures:
    texts = load.Texts(read_manifest(folder).name, bench.captions, FIXED_LENGTH)
    window = asyncio.run(
        load.closed_loop(
            address, texts, load.stream, num_clients=num_clients, warm_up_s=WARM_UP_S, measured_s=MEASURED_S
        )
    )
    return streaming_figures(window)
