"""Measures what a server adds to its model's graphs: the time of its core that no step and no encode accounts for."""

from __future__ import annotations

import itertools
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.capacity.clients import Ran, Traffic, options, run_clients
from benchmarks.capacity.costs import Costs, ServingCost
from benchmarks.capacity.fitting import Fit, fit
from benchmarks.faces import cpu_seconds
from benchmarks.pinning import on_core
from benchmarks.servers import ours
from service.client.server_process import ServerProcess, server_process
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceStub

CLIENTS = (1, 6, 32)
SHORT = 4
"""Target tokens of the translations that tell a request's cost from a token's."""
WINDOW_S = 1.5
NUM_SIZED = 256
METRICS_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Model:
    """A version to serve, its name, sentences for it, and the tokens that each translation is to have (0: as the model
    ends)."""

    folder: Path
    name: str
    sentences: Sequence[str]
    target_length: int = 0

    @property
    def sized(self) -> Sequence[str]:
        """The sentences that a load draws from, whose tokens are counted."""
        return self.sentences[:NUM_SIZED]


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
    """The path of a file with the sentences that are sized, one a line."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("\n".join(model.sized))
        file.flush()
        yield file.name


def sizes(address: str, model: Model) -> tuple[tuple[int, int], ...]:
    """Source and target tokens of the translations of the sentences that are sized, in their order."""
    request = pb.TranslateRequest(model=model.name, texts=model.sized, options=options(model.target_length))
    with grpc.insecure_channel(address) as channel:
        translations = TranslationServiceStub(channel).Translate(request).translations
    return tuple((one.num_source_tokens, one.num_target_tokens) for one in translations)


def measure_serving(
    servers: Sequence[ServerProcess], model: Model, costs: Costs, *, cores: Sequence[int]
) -> tuple[Fit, Fit]:
    """Of replicas, each with clients of its own on one of the `cores`, all at once, and of these clients: coefficients
    are seconds for each step, token and request."""
    terms, spent = [], []
    with sentence_file(model) as sentences:
        for num_clients, target_length in itertools.product(CLIENTS, (SHORT, model.target_length)):
            counted = [_counted(server) for server in servers]
            before = sum(cpu_seconds(server.pid) for server in servers)
            ran = run_clients(
                [
                    (
                        core,
                        Traffic(
                            server.address, model.name, sentences, WINDOW_S, num_clients, target_length=target_length
                        ),
                    )
                    for server, core in zip(servers, cores, strict=True)
                ]
            )
            busy = sum(cpu_seconds(server.pid) for server in servers) - before
            done = [_work(*each) for each in zip(servers, counted, ran, strict=True)]
            if (left := busy - sum(work.graph_seconds(costs) for work in done)) > 0:
                terms.append(
                    tuple(map(sum, zip(*((one.steps, one.tokens, one.requests) for one in done), strict=True)))
                )
                spent.append((left, sum(one.cpu_s for one in ran)))
    of_servers, of_clients = zip(*spent, strict=True)
    return fit(terms, of_servers), fit(terms, of_clients)


def serving_cost(found: Fit) -> ServingCost:
    step, token, request = found.coefficients
    return ServingCost(step=step, token=token, request=request)


@dataclass(frozen=True)
class Work:
    """What a replica's engine has done for so many requests."""

    steps: float
    tokens: float
    encodes: float
    requests: int

    def graph_seconds(self, costs: Costs) -> float:
        """In steps and encodes, which are all of mean size."""
        width = costs.padded(round(costs.mean_size[0]))
        rows, sources = self.tokens / self.steps, self.requests / self.encodes
        ages = rows * self.tokens / self.requests / 2
        return self.steps * costs.step.seconds(rows, ages, width) + self.encodes * costs.encode.seconds(sources, width)


def _work(server: ServerProcess, before: tuple[float, float, float], ran: Ran) -> Work:
    """Since then."""
    steps, tokens, encodes = (after - one for one, after in zip(before, _counted(server), strict=True))
    return Work(steps, tokens, encodes, sum(bool(answer.arrivals) for answer in ran.window.answers))


def _counted(server: ServerProcess) -> tuple[float, float, float]:
    """The steps, tokens and encodes of a server since it was started, as its metrics say."""
    with urllib.request.urlopen(f"http://{server.metrics_address}/metrics", timeout=METRICS_TIMEOUT_S) as response:
        families = text_string_to_metric_families(response.read().decode())
    found = {sample.name: sample.value for family in families for sample in family.samples}
    steps, tokens = found["stepstream_step_rows_count"], found["stepstream_step_rows_sum"]
    return steps, tokens, found["stepstream_encode_duration_seconds_count"]
