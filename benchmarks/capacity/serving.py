"""Measures what a server adds to its model's graphs: the time of its core that no step and no encode accounts for."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import grpc

from benchmarks.capacity.clients import Traffic, options, run_clients
from benchmarks.capacity.costs import Costs, ServingCost
from benchmarks.capacity.fitting import Fit, fit
from benchmarks.faces import cpu_seconds
from benchmarks.load import Window
from benchmarks.pinning import on_core
from benchmarks.servers import ours
from service.client.server_process import ServerProcess, server_process
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceStub

CLIENTS = (6, 32)
SHORT = 4
"""Target tokens of the translations that tell a request's cost from a token's."""
WINDOW_S = 1.5
NUM_SIZED = 256


@dataclass(frozen=True)
class Model:
    """A version to serve, its name, sentences for it, and the tokens that each translation is to have (0: as the model
    ends)."""

    folder: Path
    name: str
    sentences: Sequence[str]
    target_length: int = 0


@contextmanager
def served(model: Model, core: int) -> Iterator[ServerProcess]:
    """A replica with one engine, alone on a core."""
    with on_core(core):
        process = server_process(ours(model.folder).command)
        server = process.__enter__()
    try:
        yield server
    finally:
        process.__exit__(None, None, None)


@contextmanager
def sentence_file(model: Model) -> Iterator[str]:
    """The path of a file with the model's sentences, one a line."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("\n".join(model.sentences))
        file.flush()
        yield file.name


def sizes(address: str, model: Model) -> tuple[tuple[int, int], ...]:
    """Source and target tokens of the model's translations."""
    request = pb.TranslateRequest(
        model=model.name, texts=model.sentences[:NUM_SIZED], options=options(model.target_length)
    )
    with grpc.insecure_channel(address) as channel:
        translations = TranslationServiceStub(channel).Translate(request).translations
    return tuple((one.num_source_tokens, one.num_target_tokens) for one in translations)


def measure_serving(server: ServerProcess, model: Model, costs: Costs, *, core: int) -> tuple[Fit, Fit]:
    """Of a replica with clients on `core`, and of these clients: coefficients are seconds for each token and for each
    request."""
    terms, spent = [], []
    with sentence_file(model) as sentences:
        traffic = Traffic(server.address, model.name, sentences, WINDOW_S)
        for num_clients in CLIENTS:
            for target_length in (SHORT, model.target_length):
                before = cpu_seconds(server.pid)
                closed = replace(traffic, num_clients=num_clients, target_length=target_length)
                (ran,) = run_clients([(core, closed)])
                busy = cpu_seconds(server.pid) - before
                span = ran.window.end - min(answer.sent_at for answer in ran.window.answers)
                work = _work(ran.window, span)
                if (left := busy - work.graph_seconds(costs)) > 0:
                    terms.append((work.tokens, work.requests))
                    spent.append((left, ran.cpu_s))
    servers, clients = zip(*spent, strict=True)
    return fit(terms, servers), fit(terms, clients)


def serving_cost(found: Fit) -> ServingCost:
    token, request = found.coefficients
    return ServingCost(token=token, request=request)


@dataclass(frozen=True)
class _Work:
    """What a replica has done for closed-loop clients: tokens, requests, and the rows that shared a step on average."""

    tokens: int
    requests: int
    rows: float

    def graph_seconds(self, costs: Costs) -> float:
        """In steps and encodes."""
        target = self.tokens / self.requests
        width = costs.padded(round(statistics.mean(source for source, _ in costs.sizes)))
        step_s = costs.step.fixed / self.rows + costs.step.seconds(1, target / 2, width) - costs.step.fixed
        return self.tokens * step_s + self.requests * costs.encode.seconds(1, width)


def _work(window: Window, span: float) -> _Work:
    """Of the whole time, the one to warm up and what was not finished included."""
    answers = [answer for answer in window.answers if answer.arrivals]
    tokens = sum(len(answer.arrivals) for answer in answers)
    gaps = [later - earlier for answer in answers for earlier, later in pairwise(answer.arrivals)]
    return _Work(tokens, len(answers), max(1.0, tokens * statistics.mean(gaps) / span))
