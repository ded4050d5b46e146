"""Offers a server texts at a given rate, whether or not it answers, from a process of its own.

Writes one JSON object: what became of each request that was sent. It knows the protocol alone.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from benchmarks.pinning import pinned
from service.client.load.arrivals import poisson_arrivals
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceStub

if TYPE_CHECKING:
    from service.pb.translation_pb2_grpc import TranslationServiceAsyncStub

NUM_CHANNELS = 8
LONGEST_S = 20.0
PUSHBACK = "grpc-retry-pushback-ms"


@dataclass(frozen=True)
class Outcome:
    """One request: when it was due, from the start; how late it was sent; how long it took from then; its status;
    the pushback of a refusal, in milliseconds, or None. Times in seconds."""

    due: float
    late: float
    took: float
    code: str
    pushback_ms: int | None = None

    @property
    def is_admitted(self) -> bool:
        return self.code == grpc.StatusCode.OK.name

    @property
    def is_refused(self) -> bool:
        """By the server, or by a proxy, whose refusals are UNAVAILABLE."""
        is_of_proxy = self.code == grpc.StatusCode.UNAVAILABLE.name and self.pushback_ms is not None
        return is_of_proxy or self.code == grpc.StatusCode.RESOURCE_EXHAUSTED.name


@dataclass(frozen=True)
class Offered:
    """Texts of a model: a file of sentences, one a line, and of how many tokens each translation is, or None where the
    model decides it."""

    model: str
    sentences: Path
    num_tokens: int | None = None


@dataclass(frozen=True)
class Phase:
    """So many requests a second, Poisson arrivals, for so many seconds."""

    rate: float
    seconds: float


def offer(address: str, texts: Offered, phases: Sequence[Phase], *, core: int) -> list[list[Outcome]]:
    """The outcomes of each phase, one right after the other, sent by another process, which runs on one core."""
    flags = () if texts.num_tokens is None else ("--num-tokens", str(texts.num_tokens))
    parts = (f"{phase.rate}x{phase.seconds}" for phase in phases)
    module = (sys.executable, "-m", "benchmarks.offered")
    command = pinned((*module, *flags, address, texts.model, str(texts.sentences), *parts), core)
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    return [[Outcome(**outcome) for outcome in outcomes] for outcomes in json.loads(output)]


async def _offer(address: str, texts: Offered, phases: Sequence[Phase]) -> list[list[Outcome]]:
    sentences = texts.sentences.read_text(encoding="utf-8").splitlines()
    decoding = pb.DecodingOptions()
    if texts.num_tokens is not None:
        decoding = pb.DecodingOptions(min_length=texts.num_tokens - 1, max_length=texts.num_tokens)
    options = (("grpc.use_local_subchannel_pool", 1),)
    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(NUM_CHANNELS)]
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    stubs = cycle([TranslationServiceStub(channel) for channel in channels])
    order = random.Random(0)
    results: list[list[Outcome]] = []
    running: list[asyncio.Task[None]] = []
    gc.disable()
    for number, phase in enumerate(phases):
        results.append([])
        start = time.perf_counter()
        for due in poisson_arrivals(phase.rate, phase.seconds, number):
            if (wait_s := start + due - time.perf_counter()) > 0:
                await asyncio.sleep(wait_s)
            request = pb.StreamTranslateRequest(model=texts.model, text=order.choice(sentences), options=decoding)
            sending = _send(next(stubs), request, start, due, results[-1])
            running.append(asyncio.ensure_future(sending))
            await asyncio.sleep(0)
        await asyncio.sleep(start + phase.seconds - time.perf_counter())
    await asyncio.gather(*running)
    await asyncio.gather(*(channel.close() for channel in channels))
    return results


async def _send(
    stub: TranslationServiceAsyncStub, request: pb.StreamTranslateRequest, start: float, due: float, into: list[Outcome]
) -> None:
    sent_at = time.perf_counter()
    code, pushback = grpc.StatusCode.OK, None
    try:
        async for _ in stub.StreamTranslate(request, timeout=LONGEST_S):
            pass
    except grpc.aio.AioRpcError as error:
        code = error.code()
        pushback = next((int(value) for key, value in error.trailing_metadata() or () if key == PUSHBACK), None)
    took = time.perf_counter() - sent_at
    into.append(Outcome(due, sent_at - start - due, took, code.name, pushback))


def _phase(text: str) -> Phase:
    rate, _, seconds = text.partition("x")
    return Phase(float(rate), float(seconds))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("model")
    parser.add_argument("sentences", type=Path, help="one a line")
    parser.add_argument("phases", nargs="+", type=_phase, metavar="RATExSECONDS")
    parser.add_argument("--num-tokens", type=int, help="of each translation")
    arguments = parser.parse_args()
    offered = Offered(arguments.model, arguments.sentences, arguments.num_tokens)
    found = asyncio.run(_offer(arguments.address, offered, arguments.phases))
    json.dump([[asdict(outcome) for outcome in outcomes] for outcomes in found], sys.stdout)
