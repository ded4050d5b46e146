"""`make bench`: prints one table for the step, one for the span of attention and one for the server, each value the
median of interleaved rounds."""

from __future__ import annotations

import argparse
import asyncio
import gzip
import os
import statistics
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.bundles import BASE_NAME, make_random_base
from benchmarks.steps import NUM_STEPS, SOURCE_LENGTH, BareLoop
from benchmarks.streaming import messages_per_second
from benchmarks.windows import SOURCE_LENGTHS, step_milliseconds
from export.certify import processor_name
from service.client.server_process import running_server
from service.model.onnx_model import OnnxModel
from service.model.store import list_versions

ROOT = Path(__file__).parents[1]
ROWS = (1, 8, 32, 64)
NUM_CLIENTS = 64
NUM_SPAN_ROWS = 8
SHIPPED = ("en-de-transformer", "en-de-general")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of which the median is taken (default: 5)")
    rounds = parser.parse_args().rounds
    store = ROOT / "model_store"
    newest = {stored.name: stored.folder for stored in list_versions(store)}
    if missing := [name for name in SHIPPED if name not in newest]:
        parser.error(f"{store} has no {', '.join(missing)}")
    console = Console(width=110)
    console.print(f"{processor_name()}, {os.cpu_count()} cores; onnxruntime {version('onnxruntime')}; {rounds} rounds")
    with tempfile.TemporaryDirectory() as temporary:
        folders = {name: newest[name] for name in SHIPPED}
        folders[f"{BASE_NAME} int8"] = make_random_base(Path(temporary) / BASE_NAME)
        _print_steps(console, folders, rounds)
        _print_spans(console, Path(temporary) / "spans", rounds)
        asyncio.run(_print_server(console, folders, rounds))
    return 0


def _print_steps(console: Console, folders: dict[str, Path], rounds: int) -> None:
    models = {name: OnnxModel(folder) for name, folder in folders.items()}
    loops = {(name, rows): BareLoop(model, rows) for name, model in models.items() for rows in ROWS}
    rates: dict[tuple[str, int], list[float]] = {key: [] for key in loops}
    for _ in range(rounds):
        for key, loop in loops.items():
            rates[key].append(loop.tokens_per_second())
    console.print(f"\nDecoder step, tokens/s in a bare loop, source {SOURCE_LENGTH}, {NUM_STEPS} steps:\n")
    table = Table(box=box.MARKDOWN)
    for column in ("model", *(f"{rows} rows" for rows in ROWS)):
        table.add_column(column, justify="left" if column == "model" else "right")
    for name in models:
        table.add_row(name, *(f"{statistics.median(rates[name, rows]):,.0f}" for rows in ROWS))
    console.print(table)


def _print_spans(console: Console, folder: Path, rounds: int) -> None:
    console.print(
        f"\nDecoder step of {NUM_SPAN_ROWS} rows, a recurrent model in fp32 on one thread, in ms by source length "
        "(relative to the shortest):\n"
    )
    table = Table(box=box.MARKDOWN)
    for column in ("span", *(f"{length:,}" for length in SOURCE_LENGTHS)):
        table.add_column(column, justify="left" if column == "span" else "right")
    for span, milliseconds in step_milliseconds(folder, num_rows=NUM_SPAN_ROWS, rounds=rounds).items():
        ratios = [each / milliseconds[0] for each in milliseconds]
        table.add_row(span, *(f"{ms:.2f} ({ratio:.2f})" for ms, ratio in zip(milliseconds, ratios, strict=True)))
    console.print(table)


async def _print_server(console: Console, folders: dict[str, Path], rounds: int) -> None:
    console.print(f"\nServer with {NUM_CLIENTS} clients streaming at once, one message a step:\n")
    table = Table(box=box.MARKDOWN)
    for column in ("model", "bare loop, tokens/s", "server, messages/s", "server / bare loop"):
        table.add_column(column, justify="left" if column == "model" else "right")
    captions = gzip.decompress((ROOT / "tests/data/multi30k/test_2016_flickr.en.gz").read_bytes()).decode().splitlines()
    for label, folder in folders.items():
        model = OnnxModel(folder)
        loop = BareLoop(model, NUM_CLIENTS)
        bare, served = [], []
        with running_server((sys.executable, "-m", "benchmarks.server", str(folder))) as address:
            for _ in range(rounds):
                bare.append(loop.tokens_per_second())
                served.append(
                    await messages_per_second(
                        address, model.manifest.name, captions, num_clients=NUM_CLIENTS, max_length=NUM_STEPS
                    )
                )
        rates = statistics.median(bare), statistics.median(served)
        ratio = statistics.median(s / b for s, b in zip(served, bare, strict=True))
        table.add_row(label, f"{rates[0]:,.0f}", f"{rates[1]:,.0f}", f"{ratio:.2f}")
    console.print(table)


if __name__ == "__main__":
    raise SystemExit(main())
