"""The engine alone on a corpus whose token ids are ready: no texts, no files, no Ray. In a process of its own."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from multiprocessing.connection import Connection
from typing import NamedTuple, Self

import structlog

from service.corpora.job import Model
from service.corpora.model import load, settings_of
from service.corpora.translating import FEEDERS_A_ROW
from service.engine.pool import EnginePool
from service.engine.request import Decoding
from service.model.text import open_texts


class Run(NamedTuple):
    """Tokens that were made, from and until when, in seconds of the epoch."""

    num_tokens: int
    started_at: float
    ended_at: float


def rate(runs: Sequence[Run]) -> float:
    """Tokens a second of runs side by side, from the first one's start to the last one's end."""
    seconds = max(run.ended_at for run in runs) - min(run.started_at for run in runs)
    return sum(run.num_tokens for run in runs) / seconds


class BareEngines:
    """So many processes with one engine of one thread each, which divide the sentences among them. Use it as `with`."""

    def __init__(self, model: Model, sentences: Sequence[str], *, number: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for first in range(number):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, model, sentences[first::number]), daemon=True)
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)
        self._results()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.close()
            process.join()

    def tokens_per_second(self) -> float:
        """Of all processes together, each from its first sentence to its last."""
        for pipe in self._pipes:
            pipe.send(None)
        return rate(self._results())

    def _results(self) -> list[Run]:
        return [pipe.recv() for pipe in self._pipes]


def _serve(pipe: Connection, model: Model, sentences: Sequence[str]) -> None:
    """A run at the beginning, to warm up, and one for each message, until there are no more."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    loaded = load(model, num_cpus=1)
    texts = open_texts(loaded.manifest, model.store / model.name / str(model.version))
    sources = sorted((texts.read(sentence).ids for sentence in sentences), key=len, reverse=True)
    decoding = Decoding(max_length=loaded.manifest.max_target_length)
    num_feeders = FEEDERS_A_ROW * settings_of(model, 1).max_slots
    with asyncio.Runner() as runner:
        runner.run(_start(loaded.engine))
        while True:
            pipe.send(runner.run(_translate(loaded.engine, sources, decoding, num_feeders)))
            try:
                pipe.recv()
            except EOFError:
                break
        runner.run(loaded.engine.stop())


async def _start(engine: EnginePool) -> None:
    engine.start()


async def _translate(
    engine: EnginePool, sources: Sequence[tuple[int, ...]], decoding: Decoding, num_feeders: int
) -> Run:
    started_at, num_tokens = time.time(), 0

    async def feed(waiting: Iterator[tuple[int, ...]]) -> None:
        nonlocal num_tokens
        for source in waiting:
            async with aclosing(engine.translate(source, decoding, streamed=False)) as results:
                last = await anext(results)
            num_tokens += len(last.hypotheses[0].tokens)

    waiting = iter(sources)
    await asyncio.gather(*(feed(waiting) for _ in range(num_feeders)))
    return Run(num_tokens, started_at, time.time())
