"""Texts in, texts out: between the callers' sentences and the engine's token ids. It does not know gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TypeVar

from service.engine.pool import EnginePool
from service.engine.request import Decoding, StepResult
from service.errors import InvalidRequestError
from service.model.manifest import Manifest
from service.model.placeholders import TooManyPlaceholdersError
from service.model.text import Source, Texts
from service.options import Options, decoding_of
from service.results import Completion, Scored, StreamedStep, TargetWriter

SHORT_TEXT = 2048
"""Characters of a text that is read at once: about half a millisecond. Every other text takes a thread."""
MOST_GROWTH = 11
"""How many times as many bytes of UTF-8 a normalized text may have: U+FDFA becomes eighteen characters."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class InteractiveTranslation:
    """One translation whose beginning the caller may change: `steps` as of `Translator.stream`, each with the number of
    the edit that it belongs to; closing it frees all. `edit` gives the target another beginning and raises
    InvalidRequestError, EngineFailedError or StoppingError."""

    steps: AsyncGenerator[tuple[int, StreamedStep], None]
    edit: Callable[[str], None]


class Translator:
    """Translates with one version of one model."""

    def __init__(
        self, manifest: Manifest, texts: Texts, engine: EnginePool, *, max_text_bytes: int, max_slots: int
    ) -> None:
        """max_text_bytes of UTF-8, also once they are normalized; max_slots rows share a step of one engine."""
        self._manifest = manifest
        self._texts = texts
        self._engine = engine
        self._max_text_bytes = max_text_bytes
        self._max_slots = max_slots

    async def read(self, text: str) -> Source:
        """A text as the model reads it; only the end of the sentence for white space. Raises InvalidRequestError. A
        long text is read on another thread, since it would hold up everybody's tokens."""
        if len(text) <= SHORT_TEXT:
            return self._read(text)
        return await asyncio.to_thread(self._read, text)

    def _read(self, text: str) -> Source:
        num_bytes = len(text.encode())
        if num_bytes * MOST_GROWTH > self._max_text_bytes:
            num_bytes = max(num_bytes, self._texts.normalized_bytes(text))
        if num_bytes > self._max_text_bytes:
            raise InvalidRequestError(
                "the text has {number} bytes once it is normalized; at most {most} are translated at once",
                number=num_bytes,
                most=self._max_text_bytes,
            )
        try:
            source = self._texts.read(text)
        except TooManyPlaceholdersError as error:
            raise InvalidRequestError(
                "the text has {number} placeholders; at most {most} are kept", number=error.number, most=error.most
            ) from error
        if len(source.ids) > self._manifest.max_source_length:
            raise InvalidRequestError(
                "the text has {number} tokens; this model takes at most {most}",
                number=len(source.ids),
                most=self._manifest.max_source_length,
            )
        return source

    def source_pieces(self, source: Source) -> list[str]:
        """The source as the model reads it, with the placeholders of the text."""
        return self._texts.source_pieces(source)

    async def stream(
        self, source: Source, options: Options, *, include_attention: bool = False
    ) -> AsyncGenerator[StreamedStep, None]:
        """What each decoder step brought, as it is made; raises the engine's errors and InvalidRequestError."""
        decoding = self._decoding(options, source, include_attention=include_attention)
        writer = self._writer(options, source, decoding)
        if len(source.ids) == 1:
            yield StreamedStep(None, completion=writer.nothing())
            return
        results = self._engine.translate(
            source.ids,
            decoding,
            deadline=options.deadline,
            include_attention=include_attention,
            seed=options.seed_of_request,
        )
        async with aclosing(results):
            async for result in results:
                for step in writer.steps(result):
                    yield step

    async def translate(self, texts: Sequence[str], options: Options, *, max_running: int) -> list[Completion]:
        """All texts, at most max_running at the same time, in their order; one that fails fails all."""
        sources = await asyncio.to_thread(lambda: [self._read(text) for text in texts])

        async def one(source: Source) -> Completion:
            decoding = self._decoding(options, source, include_attention=False)
            writer = self._writer(options, source, decoding)
            if len(source.ids) == 1:
                return writer.nothing()
            return writer.complete(
                await self._last(source, decoding, deadline=options.deadline, seed=options.seed_of_request)
            )

        return await _all(sources, one, max_running)

    def interactive(
        self, source: Source, options: Options, *, include_attention: bool = False
    ) -> InteractiveTranslation:
        """A translation that the caller edits; raises InvalidRequestError."""
        decoding = self._decoding(options, source, include_attention=include_attention)
        if decoding.num_rows > 1 or decoding.alternatives:
            raise InvalidRequestError("an interactive translation has one hypothesis: no beam_size, no num_hypotheses")
        if len(source.ids) == 1:
            raise InvalidRequestError("the text is empty")
        arrived_at = time.monotonic()
        editable = self._engine.translate_editable(
            source.ids, decoding, include_attention=include_attention, seed=options.seed_of_request
        )

        def edit(target_prefix: str) -> None:
            edited = replace(options, target_prefix=target_prefix, target_prefix_ids=())
            editable.edit(self._decoding(edited, source, include_attention=include_attention).prefix)

        async def steps() -> AsyncGenerator[tuple[int, StreamedStep], None]:
            writer = TargetWriter(self._texts, source, (), (), arrived_at)
            edit_number = 0
            async with aclosing(editable.results) as results:
                async for result in results:
                    if result.edit != edit_number:
                        edit_number = result.edit
                        writer.rewind(result.first_index)
                    for step in writer.steps(result):
                        yield edit_number, step

        return InteractiveTranslation(steps(), edit)

    async def score(
        self, pairs: Sequence[tuple[str, str]], *, deadline: float | None, max_running: int
    ) -> list[Scored]:
        """The log-probability of each token of given targets; raises the engine's errors and InvalidRequestError."""
        end_id, most = self._manifest.vocabulary.end_id, self._manifest.max_target_length

        def read(pair: tuple[str, str]) -> tuple[Source, tuple[int, ...]]:
            source = self._read(pair[0])
            target_ids = (*self._texts.read_target(pair[1], source), end_id)
            if len(source.ids) == 1:
                raise InvalidRequestError("a source to score is empty")
            if len(target_ids) > most:
                raise InvalidRequestError(
                    "a target has {number} tokens; this model takes at most {most}", number=len(target_ids), most=most
                )
            return source, target_ids

        async def one(pair: tuple[Source, tuple[int, ...]]) -> Scored:
            source, target_ids = pair
            decoding = Decoding(max_length=len(target_ids), prefix=target_ids)
            last = await self._last(source, decoding, deadline=deadline)
            tokens = last.hypotheses[0].tokens
            return Scored(tokens, tuple(self._texts.target_piece(token.token_id, source) for token in tokens))

        return await _all(await asyncio.to_thread(lambda: [read(pair) for pair in pairs]), one, max_running)

    async def _last(
        self, source: Source, decoding: Decoding, *, deadline: float | None, seed: int | None = None
    ) -> StepResult:
        """The last result of a translation whose steps nobody wants."""
        results = self._engine.translate(source.ids, decoding, deadline=deadline, seed=seed, streamed=False)
        async with aclosing(results):
            return await anext(results)

    def _writer(self, options: Options, source: Source, decoding: Decoding) -> TargetWriter:
        return TargetWriter(self._texts, source, options.phrases, decoding.terms, time.monotonic())

    def _decoding(self, options: Options, source: Source, *, include_attention: bool) -> Decoding:
        if include_attention and self._manifest.attention is None:
            raise InvalidRequestError("this model has no attention")
        return decoding_of(options, self._manifest, self._texts, source, max_slots=self._max_slots)


async def _all(
    items: Sequence[_Item], one: Callable[[_Item], Coroutine[None, None, _Result]], max_running: int
) -> list[_Result]:
    """`one` of every item, at most max_running at the same time, in their order; one that fails ends all."""
    running = asyncio.Semaphore(max_running)

    async def bounded(item: _Item) -> _Result:
        async with running:
            return await one(item)

    tasks = [asyncio.ensure_future(bounded(item)) for item in items]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
