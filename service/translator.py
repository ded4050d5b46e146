"""Texts in, texts out: between the callers' sentences and the engine's token ids. It does not know gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TypeVar

from service.admission.ticket import Size, Ticket
from service.calls import Call, find_call
from service.engine.mailbox import UNLIMITED, Place
from service.engine.pool import EnginePool
from service.engine.request import Decoding, StepResult
from service.errors import InvalidRequestError
from service.model.languages import UnknownLanguageError
from service.model.manifest import Manifest
from service.model.placeholders import TooManyPlaceholdersError
from service.model.text import Source, Texts
from service.options import Options, decoding_of
from service.results import Completion, Scored, StreamedStep, TargetWriter

SHORT_TEXT = 2048
"""Characters of a text that is read at once: about half a millisecond. Every other text takes a thread."""
MOST_GROWTH = 11
"""How many times as many bytes of UTF-8 a normalized text may have: U+FDFA becomes eighteen characters."""

ORDINARY = Options()

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

    async def read(self, text: str, options: Options = ORDINARY) -> Source:
        """A text as the model reads it, in the languages of the options; empty for white space. Raises
        InvalidRequestError. A long text is read on another thread, since it would hold up everybody's tokens."""
        if len(text) <= SHORT_TEXT:
            return self._read(text, options)
        return await asyncio.to_thread(self._read, text, options)

    def _read(self, text: str, options: Options = ORDINARY) -> Source:
        call = find_call()
        call.model, call.version = self._manifest.name, self._manifest.version
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
            source = self._texts.read(text, options.source_language, options.target_language)
        except UnknownLanguageError as error:
            if error.is_missing:
                raise InvalidRequestError(
                    "{field} is not set; the model has {languages}", field=error.field, languages=error.languages
                ) from error
            raise InvalidRequestError(
                "{field} is none of the model's languages, which are {languages}",
                field=error.field,
                languages=error.languages,
            ) from error
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
        call.num_source_tokens += len(source.ids)
        return source

    def source_pieces(self, source: Source) -> list[str]:
        """The source as the model reads it, with the placeholders of the text."""
        return self._texts.source_pieces(source)

    async def stream(
        self, source: Source, options: Options, ticket: Ticket, *, include_attention: bool = False
    ) -> AsyncGenerator[StreamedStep, None]:
        """What each decoder step brought, as it is made; raises the engine's errors and InvalidRequestError."""
        decoding = self._decoding(options, source, include_attention=include_attention)
        writer = self._writer(options, source, decoding)
        if source.is_empty:
            yield StreamedStep(None, completion=writer.nothing())
            return
        (place,) = ticket.admit([_size(source, decoding)])
        results = self._engine.translate(
            source.ids,
            decoding,
            deadline=ticket.claim.deadline,
            include_attention=include_attention,
            seed=options.seed_of_request,
            place=place,
        )
        call = find_call()
        async with aclosing(results):
            async for result in results:
                _note(call, result)
                for step in writer.steps(result):
                    yield step

    async def translate(
        self, texts: Sequence[str], options: Options, ticket: Ticket, *, max_running: int
    ) -> list[Completion]:
        """All texts, at most max_running at the same time, in their order; one that fails fails all."""

        def read(text: str) -> tuple[Source, Decoding]:
            source = self._read(text, options)
            return source, self._decoding(options, source, include_attention=False)

        items = await asyncio.to_thread(lambda: [read(text) for text in texts])
        places = iter(ticket.admit([_size(*item) for item in items if not item[0].is_empty]))

        async def one(item: tuple[Source, Decoding, Place | None]) -> Completion:
            source, decoding, place = item
            writer = self._writer(options, source, decoding)
            if place is None:
                return writer.nothing()
            return writer.complete(
                await self._last(source, decoding, place, deadline=ticket.claim.deadline, seed=options.seed_of_request)
            )

        placed = [(*item, None if item[0].is_empty else next(places)) for item in items]
        return await _all(placed, one, max_running)

    async def complete(self, source: Source, options: Options) -> Completion:
        """One translation whose steps nobody wants, for a caller that is the model's only one and needs no admission;
        raises the engine's errors and InvalidRequestError."""
        decoding = self._decoding(options, source, include_attention=False)
        writer = self._writer(options, source, decoding)
        if source.is_empty:
            return writer.nothing()
        seed = options.seed_of_request
        return writer.complete(await self._last(source, decoding, UNLIMITED, deadline=None, seed=seed))

    def interactive(
        self, source: Source, options: Options, ticket: Ticket, *, include_attention: bool = False
    ) -> InteractiveTranslation:
        """A translation that the caller edits; raises InvalidRequestError."""
        decoding = self._decoding(options, source, include_attention=include_attention)
        if decoding.num_rows > 1 or decoding.alternatives:
            raise InvalidRequestError("an interactive translation has one hypothesis: no beam_size, no num_hypotheses")
        if source.is_empty:
            raise InvalidRequestError("the text is empty")
        arrived_at = time.monotonic()
        (place,) = ticket.admit([_size(source, decoding)])
        num_edits = 0
        editable = self._engine.translate_editable(
            source.ids, decoding, include_attention=include_attention, seed=options.seed_of_request, place=place
        )

        def edit(target_prefix: str) -> None:
            nonlocal num_edits
            edited = replace(options, target_prefix=target_prefix, target_prefix_ids=())
            editable.edit(self._decoding(edited, source, include_attention=include_attention).prefix)
            num_edits += 1
            place.resume()

        async def steps() -> AsyncGenerator[tuple[int, StreamedStep], None]:
            writer = TargetWriter(self._texts, source, (), (), arrived_at)
            edit_number = 0
            call = find_call()
            async with aclosing(editable.results) as results:
                async for result in results:
                    _note(call, result)
                    if result.edit != edit_number:
                        edit_number = result.edit
                        writer.rewind(result.first_index)
                    if result.is_last and result.edit == num_edits:
                        place.rest()
                    for step in writer.steps(result):
                        yield edit_number, step

        return InteractiveTranslation(steps(), edit)

    async def score(
        self, pairs: Sequence[tuple[str, str]], ticket: Ticket, *, max_running: int, options: Options = ORDINARY
    ) -> list[Scored]:
        """The log-probability of each token of given targets, in the languages of the options; raises the engine's
        errors and InvalidRequestError."""
        end_id, most = self._manifest.vocabulary.end_id, self._manifest.max_target_length

        def read(pair: tuple[str, str]) -> tuple[Source, Decoding]:
            source = self._read(pair[0], options)
            target_ids = (*source.target_prefix, *self._texts.read_target(pair[1], source), end_id)
            if source.is_empty:
                raise InvalidRequestError("a source to score is empty")
            if len(target_ids) > most:
                raise InvalidRequestError(
                    "a target has {number} tokens; this model takes at most {most}", number=len(target_ids), most=most
                )
            return source, Decoding(max_length=len(target_ids), prefix=target_ids)

        async def one(item: tuple[Source, Decoding, Place]) -> Scored:
            source, decoding, place = item
            last = await self._last(source, decoding, place, deadline=ticket.claim.deadline)
            tokens = last.hypotheses[0].tokens
            return Scored(tokens, tuple(self._texts.target_piece(token.token_id, source) for token in tokens))

        items = await asyncio.to_thread(lambda: [read(pair) for pair in pairs])
        places = ticket.admit([_size(*item) for item in items])
        return await _all([(*item, place) for item, place in zip(items, places, strict=True)], one, max_running)

    async def _last(
        self, source: Source, decoding: Decoding, place: Place, *, deadline: float | None, seed: int | None = None
    ) -> StepResult:
        """The last result of a translation whose steps nobody wants."""
        results = self._engine.translate(
            source.ids, decoding, deadline=deadline, seed=seed, streamed=False, place=place
        )
        async with aclosing(results):
            last = await anext(results)
        find_call().progress(
            len(last.hypotheses[0].tokens),
            joined_at=last.joined_at,
            encoded_at=last.encoded_at,
            made_at=last.made_at,
        )
        return last

    def _writer(self, options: Options, source: Source, decoding: Decoding) -> TargetWriter:
        return TargetWriter(
            self._texts, source, options.phrases, decoding.terms, time.monotonic(), num_held=len(decoding.resumed)
        )

    def _decoding(self, options: Options, source: Source, *, include_attention: bool) -> Decoding:
        if include_attention and self._manifest.attention is None:
            raise InvalidRequestError("this model has no attention")
        return decoding_of(options, self._manifest, self._texts, source, max_slots=self._max_slots)


def _note(call: Call, result: StepResult) -> None:
    """Write a streamed result into the record of its call."""
    if result.settled and call.first_token_at is None:
        call.first_token_at = result.made_at
    call.progress(len(result.settled), joined_at=result.joined_at, encoded_at=result.encoded_at, made_at=result.made_at)


def _size(source: Source, decoding: Decoding) -> Size:
    return Size(decoding.num_rows, len(source.ids))


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
