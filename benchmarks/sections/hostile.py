"""What honest clients notice of a neighbour that abuses HTTP/2 all the time."""

from __future__ import annotations

import asyncio
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import grpc.aio

from benchmarks import load
from benchmarks.figures import at_most, percentile
from benchmarks.report import SHIPPED, Bench, Table
from service.client.server_process import SERVE_COMMAND, running_server
from service.pb import translation_pb2 as pb

if TYPE_CHECKING:
    from service.pb.translation_pb2_grpc import TranslationServiceAsyncStub

NUM_CLIENTS = 4
WARM_UP_S = 1.0
MEASURED_S = 6.0
GOAL = 1.2
NEIGHBOUR = (sys.executable, "-m", "tests.faults.hostile_neighbour")
FIGURES = ("first token, p99 ms", "between tokens, p99 ms", "whole sentence, p99 ms", "errors")


def measure(bench: Bench) -> Iterator[Table]:
    store = bench.scratch / "hostile_store"
    shutil.copytree(bench.shipped(SHIPPED), store / SHIPPED / bench.shipped(SHIPPED).name)
    texts = load.Texts(SHIPPED, bench.captions, pb.DecodingOptions())
    found: dict[bool, list[tuple[float, ...]]] = {False: [], True: []}
    with running_server((*SERVE_COMMAND, "--model-store", str(store))) as address:
        for _ in range(bench.rounds):
            for is_hostile, rounds in found.items():
                with _neighbour(address) if is_hostile else nullcontext():
                    rounds.append(asyncio.run(_figures(address, texts)))
    alone, beside = ([statistics.median(each) for each in zip(*rounds, strict=True)] for rounds in found.values())
    errors_alone, errors_beside = (sum(one[-1] for one in rounds) for rounds in found.values())
    yield Table(
        f"{SHIPPED}, {NUM_CLIENTS} clients streaming captions, alone and beside a neighbour that abuses HTTP/2 "
        "(floods, resets, broken frames, windows that stay closed), on the same machine at the lowest priority",
        ("", "alone", "beside", "beside / alone", "to reach"),
        [
            *(
                (name, f"{one:.1f}", f"{other:.1f}", f"{other / one:.2f}", at_most(other / one, GOAL, " x"))
                for name, one, other in zip(FIGURES[:-1], alone, beside, strict=False)
            ),
            (FIGURES[-1], f"{errors_alone:.0f}", f"{errors_beside:.0f}", "", at_most(errors_beside, 0)),
        ],
    )


async def _figures(address: str, texts: load.Texts) -> tuple[float, ...]:
    """In the order of FIGURES."""
    num_errors = 0

    async def send(stub: TranslationServiceAsyncStub, texts: load.Texts, sentence: str, answer: load.Answer) -> None:
        nonlocal num_errors
        try:
            await load.stream(stub, texts, sentence, answer)
        except grpc.aio.AioRpcError:
            num_errors += 1

    window = await load.closed_loop(
        address, texts, send, num_clients=NUM_CLIENTS, warm_up_s=WARM_UP_S, measured_s=MEASURED_S
    )
    times = (window.first_token_seconds(), window.seconds_between_tokens(), window.whole_seconds())
    return (*(1e3 * percentile(each, 0.99) for each in times), num_errors)


@contextmanager
def _neighbour(address: str) -> Iterator[None]:
    with subprocess.Popen((*NEIGHBOUR, address), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield
        finally:
            process.terminate()
