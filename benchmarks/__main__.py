"""`make bench`: prints tables for the step, beside CTranslate2 on the same weights, for the span of attention and the
server, each value the median of interleaved rounds."""

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

from benchmarks import comparison
from benchmarks.bundles import BASE_NAME, make_random_base, random_base
from benchmarks.steps import NUM_STEPS, SOURCE_LENGTH, BareLoop
from benchmarks.streaming import messages_per_second
from benchmarks.to_ctranslate2 import convert
from benchmarks.windows import SOURCE_LENGTHS, step_milliseconds
from export.certify import processor_name
from export.checkpoint import load_checkpoint
from service.client.server_process import running_server
from service.model.manifest import read_manifest
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
    console = Console(width=130)
    console.print(f"{processor_name()}, {os.cpu_count()} cores; onnxruntime {version('onnxruntime')}; {rounds} rounds")
    with tempfile.TemporaryDirectory() as temporary:
        folders = {name: newest[name] for name in SHIPPED}
        folders[f"{BASE_NAME} int8"] = make_random_base(Path(temporary) / BASE_NAME)
        _print_steps(console, folders, rounds)
        _print_comparison(console, folders, Path(temporary) / "ctranslate2", rounds)
        _print_spans(console, Path(temporary) / "spans", rounds)
        asyncio.run(_print_server(console, folders, rounds))
    return 0


def _print_steps(console: Console, folders: dict[str, Path], rounds: int) -> None:
    models = {name: OnnxModel(folder, num_threads=1) for name, folder in folders.items()}
    loops = {(name, rows): BareLoop(model, rows) for name, model in models.items() for rows in ROWS}
    rates: dict[tuple[str, int], list[float]] = {key: [] for key in loops}
    for _ in range(rounds):
        for key, loop in loops.items():
            rates[key].append(loop.tokens_per_second())
    console.print(
        f"\nDecoder step, tokens/s in a bare loop on one thread, source {SOURCE_LENGTH}, {NUM_STEPS} steps:\n"
    )
    table = Table(box=box.MARKDOWN)
    for column in ("model", *(f"{rows} rows" for rows in ROWS)):
        table.add_column(column, justify="left" if column == "model" else "right")
    for name in models:
        table.add_row(name, *(f"{statistics.median(rates[name, rows]):,.0f}" for rows in ROWS))
    console.print(table)


def _print_comparison(console: Console, folders: dict[str, Path], folder: Path, rounds: int) -> None:
    """Both models as 8-bit CTranslate2 models beside the versions."""
    shipped, base = SHIPPED[0], f"{BASE_NAME} int8"
    convert(load_checkpoint(ROOT / "export" / "checkpoints" / shipped)[1], folder / shipped, "int8")
    convert(random_base(), folder / base, "int8")
    console.print(
        f"\nWhole translations of {comparison.SOURCE_LENGTH} into {comparison.TARGET_LENGTH} tokens, with encoding, "
        f"on the same weights in 8 bits; tokens/s at the best setting of each, CTranslate2 {version('ctranslate2')}:\n"
    )
    table = Table(box=box.MARKDOWN)
    for column in ("model", "search", "requests", "ours", "CTranslate2", "ours / CTranslate2", "settings"):
        table.add_column(column, justify="left" if column in ("model", "search", "settings") else "right")
    for name, beam_size, num_sources in (
        *((base, 1, rows) for rows in ROWS),
        *((base, 4, num_requests) for num_requests in (1, 8, 32)),
        *((shipped, 1, rows) for rows in (1, 64)),
        *((shipped, 4, num_requests) for num_requests in (1, 32)),
    ):
        rates = comparison.compare(
            [
                comparison.Ours(folders[name], num_workers=workers, num_threads=threads)
                for workers, threads in ((1, 1), (1, 2), (2, 1))
            ],
            [
                comparison.Theirs(folder / name, num_workers=workers, num_threads=threads)
                for workers, threads in ((1, 2), (2, 1))
            ],
            num_sources=num_sources,
            beam_size=beam_size,
            rounds=rounds,
        )
        search = "greedy" if beam_size == 1 else f"beam {beam_size}"
        figures = (f"{rates.ours:,.0f}", f"{rates.theirs:,.0f}", f"{rates.ratio:.2f}")
        table.add_row(name, search, str(num_sources), *figures, f"{rates.our_setting}; {rates.their_setting}")
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
    console.print(
        f"\nServer with {NUM_CLIENTS} clients streaming at once, one message a step, beside two bare loops of half the "
        "rows:\n"
    )
    table = Table(box=box.MARKDOWN)
    for column in ("model", "bare loops, tokens/s", "server, messages/s", "server / bare loops"):
        table.add_column(column, justify="left" if column == "model" else "right")
    captions = gzip.decompress((ROOT / "tests/data/multi30k/test_2016_flickr.en.gz").read_bytes()).decode().splitlines()
    for label, folder in folders.items():
        loops = comparison.Ours(folder, num_workers=2, num_threads=1)
        bare, served = [], []
        with running_server((sys.executable, "-m", "benchmarks.server", str(folder))) as address:
            for _ in range(rounds):
                bare.append(comparison.tokens_per_second(loops, comparison.random_sources(NUM_CLIENTS), beam_size=1))
                served.append(
                    await messages_per_second(
                        address, read_manifest(folder).name, captions, num_clients=NUM_CLIENTS, max_length=NUM_STEPS
                    )
                )
        rates = statistics.median(bare), statistics.median(served)
        ratio = statistics.median(s / b for s, b in zip(served, bare, strict=True))
        table.add_row(label, f"{rates[0]:,.0f}", f"{rates[1]:,.0f}", f"{ratio:.2f}")
    console.print(table)


if __name__ == "__main__":
    raise SystemExit(main())
