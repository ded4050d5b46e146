"""A server of a CTranslate2 model with this project's protocol, made as well as CTranslate2 allows, to compare with.

StreamTranslate sends tokens from CTranslate2's callback, which needs greedy search. A callback gets the tokens of its
own call alone, and each worker runs one call at a time: so each request is a batch of one, and requests wait for a
worker. Translate collects the requests that wait while all workers are busy, up to a batch, and translates them
together. Sentences become tokens, and tokens text, by the vocabulary of the version that the model was made from; no
log-probabilities are asked for. Prints its address when ready.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ctranslate2
import grpc.aio

from benchmarks.until_stopped import serve_until_stopped
from service.model.bundle import read_manifest
from service.model.text import Source, Texts, open_texts
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceServicer, add_TranslationServiceServicer_to_server

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True)
class Lengths:
    """Fewest tokens before the end of the sentence, and most tokens with it."""

    fewest: int
    most: int


@dataclass(frozen=True)
class Waiting:
    """A request that waits for a batch, and where its target's ids go."""

    tokens: list[str]
    lengths: Lengths
    target_ids: asyncio.Future[list[int]]


class Batcher:
    """Translates waiting requests together: up to max_batch of the same lengths, as soon as a worker is free and
    either so many wait or the first one has waited for max_wait_s."""

    def __init__(self, translator: ctranslate2.Translator, workers: int, max_batch: int, max_wait_s: float) -> None:
        self._translator = translator
        self._executor = ThreadPoolExecutor(workers)
        self._free = asyncio.Semaphore(workers)
        self._max_batch, self._max_wait_s = max_batch, max_wait_s
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue()
        self._batches: set[asyncio.Task[None]] = set()
        self._collector = asyncio.ensure_future(self._collect())

    async def translate(self, tokens: list[str], lengths: Lengths) -> list[int]:
        """The target's ids, without the end of the sentence."""
        waiting = Waiting(tokens, lengths, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(waiting)
        return await waiting.target_ids

    async def stop(self) -> None:
        """Wait until the batches under way have ended; begin no other."""
        self._collector.cancel()
        await asyncio.to_thread(self._executor.shutdown)

    async def _collect(self) -> None:
        held: Waiting | None = None
        while True:
            batch = [held or await self._queue.get()]
            held = None
            deadline = asyncio.get_running_loop().time() + self._max_wait_s
            await self._free.acquire()
            while len(batch) < self._max_batch:
                try:
                    async with asyncio.timeout_at(deadline):
                        one = self._queue.get_nowait() if not self._queue.empty() else await self._queue.get()
                except TimeoutError:
                    break
                if one.lengths != batch[0].lengths:
                    held = one
                    break
                batch.append(one)
            task = asyncio.ensure_future(self._translate(batch))
            self._batches.add(task)
            task.add_done_callback(self._batches.discard)

    async def _translate(self, batch: Sequence[Waiting]) -> None:
        call = partial(
            self._translator.translate_batch,
            [waiting.tokens for waiting in batch],
            beam_size=1,
            min_decoding_length=batch[0].lengths.fewest,
            max_decoding_length=batch[0].lengths.most,
        )
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._executor, call)
        except RuntimeError as error:
            for waiting in batch:
                waiting.target_ids.set_exception(error)
        else:
            for waiting, result in zip(batch, results, strict=True):
                if not waiting.target_ids.done():
                    waiting.target_ids.set_result([int(token) for token in result.hypotheses[0]])
        finally:
            self._free.release()


class Servicer(TranslationServiceServicer):
    """StreamTranslate and Translate of one text, greedy."""

    def __init__(self, translator: ctranslate2.Translator, texts: Texts, batcher: Batcher, workers: int) -> None:
        self._translator = translator
        self._texts = texts
        self._batcher = batcher
        # One more call than workers, so that none waits for this process when it has ended a request.
        self._executor = ThreadPoolExecutor(workers + 1)

    async def stop(self) -> None:
        """Wait until the calls under way, whose clients are gone, have ended."""
        await asyncio.to_thread(self._executor.shutdown)

    async def StreamTranslate(  # noqa: N802
        self, request: pb.StreamTranslateRequest, _: Context
    ) -> AsyncIterator[pb.StreamTranslateResponse]:
        source = self._texts.read(request.text)
        lengths = _lengths(request.options)
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[tuple[int, bool] | None] = asyncio.Queue()
        is_cancelled = False

        def on_token(result: Any) -> bool:
            loop.call_soon_threadsafe(arrived.put_nowait, (result.token_id, result.is_last))
            return is_cancelled

        call = partial(
            self._translator.translate_batch,
            [_tokens(source)],
            beam_size=1,
            min_decoding_length=lengths.fewest,
            max_decoding_length=lengths.most,
            callback=on_token,
        )
        running = loop.run_in_executor(self._executor, call)
        running.add_done_callback(lambda _: arrived.put_nowait(None))
        written, target_ids = self._texts.stream(source), list[int]()
        try:
            while (token := await arrived.get()) is not None:
                token_id, is_last = token
                delta = written.add(token_id) + (written.finish() if is_last else "")
                piece = self._texts.target_piece(token_id, source)
                step = pb.Step(index=len(target_ids), token_id=token_id, piece=piece, text_delta=delta)
                target_ids.append(token_id)
                yield pb.StreamTranslateResponse(
                    step=step, completion=self._completion(source, target_ids) if is_last else None
                )
            running.result()
        finally:
            is_cancelled = True
            running.cancel()

    async def Translate(self, request: pb.TranslateRequest, _: Context) -> pb.TranslateResponse:  # noqa: N802
        translations = []
        for text in request.texts:
            source = self._texts.read(text)
            target_ids = await self._batcher.translate(_tokens(source), _lengths(request.options))
            written = self._texts.write(target_ids, source)
            translations.append(
                pb.Translation(text=written, num_source_tokens=len(source.ids), num_target_tokens=len(target_ids))
            )
        return pb.TranslateResponse(translations=translations, model=request.model, version=1)

    def _completion(self, source: Source, target_ids: Sequence[int]) -> pb.Completion:
        text = self._texts.write(target_ids, source)
        return pb.Completion(text=text, num_source_tokens=len(source.ids), num_target_tokens=len(target_ids))


def _tokens(source: Source) -> list[str]:
    return [str(token_id) for token_id in source.ids]


def _lengths(options: pb.DecodingOptions) -> Lengths:
    return Lengths(max(options.min_length, 1), options.max_length or 256)


async def serve(options: argparse.Namespace) -> None:
    """Until SIGTERM."""
    texts = open_texts(read_manifest(options.version), options.version)
    translator = ctranslate2.Translator(
        str(options.model),
        compute_type="int8",
        inter_threads=options.workers,
        intra_threads=options.threads,
        max_queued_batches=-1,
    )
    server = grpc.aio.server()
    batcher = Batcher(translator, options.workers, options.max_batch, options.max_wait_ms / 1e3)
    # The other methods answer UNIMPLEMENTED.
    servicer = Servicer(translator, texts, batcher, options.workers)  # type: ignore[abstract]
    add_TranslationServiceServicer_to_server(servicer, server)
    await serve_until_stopped(server)
    await servicer.stop()
    await batcher.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="folder of the CTranslate2 model")
    parser.add_argument("version", type=Path, help="folder of the version that it was made from")
    parser.add_argument("--workers", type=int, default=2, help="translations that run side by side")
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("--max-batch", type=int, default=32, help="most requests of Translate in a batch")
    parser.add_argument("--max-wait-ms", type=float, default=5.0, help="longest wait of a batch for more requests")
    asyncio.run(serve(parser.parse_args()))
    # A worker that lets go of its last callback while Python ends would abort the process.
    os._exit(0)


if __name__ == "__main__":
    main()
