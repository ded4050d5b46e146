"""Real clients in a process of their own, for servers that are measured. Prints what became of each request."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio

from benchmarks import load
from benchmarks.capacity.arrivals import Arrival, Sizes
from benchmarks.pinning import on_core
from service.client.load.arrivals import poisson_arrivals
from service.pb import translation_pb2 as pb

if TYPE_CHECKING:
    from service.pb.translation_pb2_grpc import TranslationServiceAsyncStub


@dataclass(frozen=True)
class Traffic:
    """What a process of clients does: address is HOST:PORT, several with commas between, which are taken in turns. With
    num_clients each of them sends its next text when the last one is answered; without, `rate` texts a second come,
    Poisson. sentences is a file, one a line; target_length 0: as the model ends."""

    address: str
    model: str
    sentences: str
    seconds: float
    num_clients: int = 0
    rate: float = 0.0
    target_length: int = 0
    warm_up_s: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class Ran:
    """What a process of clients has seen, and the seconds of a core that it took."""

    window: load.Window
    cpu_s: float


def sent(traffic: Traffic, sizes: Sizes) -> list[Arrival]:
    """What it sends without num_clients, where each sentence has such a size."""
    order = random.Random(load.ORDER_SEED)
    arrivals = poisson_arrivals(traffic.rate, traffic.seconds, traffic.seed)
    return [Arrival(at, *order.choice(sizes)) for at in arrivals]


def options(target_length: int) -> pb.DecodingOptions:
    """Every translation has so many tokens; 0: as many as the model gives it."""
    if not target_length:
        return pb.DecodingOptions()
    return pb.DecodingOptions(min_length=target_length - 1, max_length=target_length)


def run_clients(traffic: Sequence[tuple[int, Traffic]]) -> list[Ran]:
    """All of it at once, each on its core."""
    processes = []
    for core, one in traffic:
        with on_core(core):
            command = (sys.executable, "-m", "benchmarks.capacity.clients", json.dumps(asdict(one)))
            processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    ran = []
    for process in processes:
        output = process.communicate()[0]
        if process.returncode:
            raise RuntimeError(f"clients ended with {process.returncode}")
        read = json.loads(output)
        window = read["window"]
        answers = [load.Answer(**answer) for answer in window["answers"]]
        ran.append(Ran(load.Window(window["start"], window["end"], answers), read["cpu_s"]))
    return ran


async def stream(stub: TranslationServiceAsyncStub, texts: load.Texts, sentence: str, answer: load.Answer) -> None:
    """One text; an answer that has no tokens was refused."""
    try:
        await load.stream(stub, texts, sentence, answer)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise


async def _run(traffic: Traffic, sentences: Sequence[str]) -> load.Window:
    texts = load.Texts(traffic.model, sentences, options(traffic.target_length))
    if traffic.num_clients:
        return await load.closed_loop(
            traffic.address,
            texts,
            stream,
            num_clients=traffic.num_clients,
            warm_up_s=traffic.warm_up_s,
            measured_s=traffic.seconds,
        )
    arrivals = poisson_arrivals(traffic.rate, traffic.seconds, traffic.seed)
    return await load.open_loop(traffic.address, texts, stream, arrivals)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traffic", type=json.loads)
    given = Traffic(**parser.parse_args().traffic)
    texts = Path(given.sentences).read_text(encoding="utf-8").splitlines()
    before = time.process_time()
    window = asyncio.run(_run(given, texts))
    json.dump(asdict(Ran(window, time.process_time() - before)), sys.stdout)
