"""Real clients in a process of their own, for servers that are measured. Prints what became of each request."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import load
from benchmarks.pinning import on_core
from service.client.load.arrivals import poisson_arrivals
from service.pb import translation_pb2 as pb


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


def options(target_length: int) -> pb.DecodingOptions:
    """Every translation has so many tokens; 0: as many as the model gives it."""
    if not target_length:
        return pb.DecodingOptions()
    return pb.DecodingOptions(min_length=target_length - 1, max_length=target_length)


def run_clients(traffic: Sequence[tuple[int, Traffic]]) -> list[load.Window]:
    """All of it at once, each on its core."""
    processes = []
    for core, one in traffic:
        with on_core(core):
            command = (sys.executable, "-m", "benchmarks.capacity.clients", json.dumps(asdict(one)))
            processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    windows = []
    for process in processes:
        output = process.communicate()[0]
        if process.returncode:
            raise RuntimeError(f"clients ended with {process.returncode}")
        read = json.loads(output)
        windows.append(load.Window(read["start"], read["end"], [load.Answer(**answer) for answer in read["answers"]]))
    return windows


async def _run(traffic: Traffic, sentences: Sequence[str]) -> load.Window:
    texts = load.Texts(traffic.model, sentences, options(traffic.target_length))
    if traffic.num_clients:
        return await load.closed_loop(
            traffic.address,
            texts,
            load.stream,
            num_clients=traffic.num_clients,
            warm_up_s=traffic.warm_up_s,
            measured_s=traffic.seconds,
        )
    arrivals = poisson_arrivals(traffic.rate, traffic.seconds, traffic.seed)
    return await load.open_loop(traffic.address, texts, load.stream, arrivals)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traffic", type=json.loads)
    given = Traffic(**parser.parse_args().traffic)
    window = asyncio.run(_run(given, Path(given.sentences).read_text(encoding="utf-8").splitlines()))
    json.dump(asdict(window), sys.stdout)
