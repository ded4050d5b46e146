"""Texts in, texts out: between the callers' sentences and the engine's token ids. It does not know gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from service.engine.engine import Engine
from service.engine.request import FinishReason, StepResult
from service.errors import InvalidRequestError
from service.model.manifest import Manifest
from service.model.text import Source, Texts


@dataclass(frozen=True)
class Options:
    """How to translate: max_length in target tokens, None for the model's most; deadline on the clock of
    `time.monotonic`, in seconds, or None; seed draws what the model can draw, None takes what is most probable."""

    max_length: int | None = None
    deadline: float | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Completion:
    """A whole translation; times in seconds from its arrival."""

    text: str
    finish_reason: FinishReason
    log_probability: float
    num_source_tokens: int
    num_target_tokens: int
    queue_s: float = 0.0
    first_token_s: float = 0.0
    total_s: float = 0.0


@dataclass(frozen=True)
class StreamedStep:
    """One step with its text. completion is set on the last one; result is missing only for an empty text."""

    result: StepResult | None
    piece: str
    text_delta: str
    completion: Completion | None


class Translator:
    """Translates with one version of one model."""

    def __init__(self, manifest: Manifest, texts: Texts, engine: Engine, *, max_text_length: int) -> None:
        """max_text_length in characters."""
        self._manifest = manifest
        self._texts = texts
        self._engine = engine
        self._max_text_length = max_text_length

    def read(self, text: str) -> Source:
        """A text as the model reads it; only the end of the sentence for white space. Raises InvalidRequestError."""
        if len(text) > self._max_text_length:
            raise InvalidRequestError(
                f"the text has {len(text)} characters; at most {self._max_text_length} are translated at once"
            )
        try:
            source = self._texts.read(text)
        except ValueError as error:
            raise InvalidRequestError(str(error)) from error
        if len(source.ids) > self._manifest.max_source_length:
            most = self._manifest.max_source_length
            raise InvalidRequestError(
                f"the text has {len(source.ids)} tokens; {self._manifest.name} takes at most {most}"
            )
        return source

    def source_pieces(self, source: Source) -> list[str]:
        """The source as the model reads it, with the placeholders of the text."""
        return self._texts.source_pieces(source)

    async def stream(
        self, source: Source, options: Options, *, include_attention: bool = False
    ) -> AsyncGenerator[StreamedStep, None]:
        """One StreamedStep a decoder step, as it is made; raises the engine's errors and InvalidRequestError."""
        arrived_at = time.monotonic()
        max_length = self._max_length(options)
        if include_attention and self._manifest.attention is None:
            raise InvalidRequestError(f"{self._manifest.name} has no attention")
        if len(source.ids) == 1:
            yield StreamedStep(None, "", "", Completion("", FinishReason.END_OF_SENTENCE, 0.0, 1, 0))
            return
        text = self._texts.stream(source)
        log_probability = 0.0
        first_token_s = 0.0
        results = self._engine.translate(
            source.ids,
            max_length=max_length,
            deadline=options.deadline,
            include_attention=include_attention,
            seed=options.seed,
        )
        async with aclosing(results):
            async for result in results:
                log_probability += result.log_probability
                first_token_s = first_token_s or result.made_at - arrived_at
                ended = result.finish_reason is not None
                delta = text.add(result.token_id)
                completion = None
                if ended:
                    delta += text.finish()
                    assert result.finish_reason is not None
                    completion = Completion(
                        text.text,
                        result.finish_reason,
                        log_probability,
                        len(source.ids),
                        result.index + 1,
                        result.joined_at - arrived_at,
                        first_token_s,
                        result.made_at - arrived_at,
                    )
                yield StreamedStep(result, self._texts.target_piece(result.token_id, source), delta, completion)

    async def translate(self, texts: Sequence[str], options: Options, *, max_running: int) -> list[Completion]:
        """All texts, at most max_running at the same time, in their order; one that fails fails all."""
        sources = await asyncio.to_thread(lambda: [self.read(text) for text in texts])
        running = asyncio.Semaphore(max_running)

        async def one(source: Source) -> Completion:
            async with running, aclosing(self.stream(source, options)) as steps:
                async for step in steps:
                    if step.completion is not None:
                        return step.completion
            raise AssertionError("a stream ended without a completion")

        tasks = [asyncio.ensure_future(one(source)) for source in sources]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    def _max_length(self, options: Options) -> int:
        most = self._manifest.max_target_length
        if options.max_length is None:
            return most
        if not 1 <= options.max_length <= most:
            raise InvalidRequestError(
                f"max_length is {options.max_length}; it must be from 1 to {most}, or 0 for {most}"
            )
        return options.max_length
