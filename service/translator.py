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
from service.model.vocabulary import TextStream, Vocabulary


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

    def __init__(
        self, manifest: Manifest, source: Vocabulary, target: Vocabulary, engine: Engine, *, max_text_length: int
    ) -> None:
        """max_text_length in characters."""
        self._manifest = manifest
        self._source = source
        self._target = target
        self._engine = engine
        self._max_text_length = max_text_length

    def source_ids(self, text: str) -> tuple[int, ...]:
        """A text's token ids with the end of the sentence; only the end for white space. Raises InvalidRequestError."""
        if len(text) > self._max_text_length:
            raise InvalidRequestError(
                f"the text has {len(text)} characters; at most {self._max_text_length} are translated at once"
            )
        ids = (*self._source.encode(text), self._manifest.vocabulary.end_id)
        if len(ids) > self._manifest.max_source_length:
            most = self._manifest.max_source_length
            raise InvalidRequestError(f"the text has {len(ids)} tokens; {self._manifest.name} takes at most {most}")
        return ids

    def source_pieces(self, source_ids: Sequence[int]) -> list[str]:
        """The source as the model reads it."""
        return [self._source.piece(token_id) for token_id in source_ids]

    async def stream(
        self, source_ids: tuple[int, ...], options: Options, *, include_attention: bool = False
    ) -> AsyncGenerator[StreamedStep, None]:
        """One StreamedStep a decoder step, as it is made; raises the engine's errors and InvalidRequestError."""
        arrived_at = time.monotonic()
        max_length = self._max_length(options)
        if include_attention and self._manifest.attention is None:
            raise InvalidRequestError(f"{self._manifest.name} has no attention")
        if len(source_ids) == 1:
            yield StreamedStep(None, "", "", Completion("", FinishReason.END_OF_SENTENCE, 0.0, 1, 0))
            return
        text = TextStream(self._target)
        log_probability = 0.0
        first_token_s = 0.0
        results = self._engine.translate(
            source_ids,
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
                        len(source_ids),
                        result.index + 1,
                        result.joined_at - arrived_at,
                        first_token_s,
                        result.made_at - arrived_at,
                    )
                yield StreamedStep(result, self._target.piece(result.token_id), delta, completion)

    async def translate(self, texts: Sequence[str], options: Options, *, max_running: int) -> list[Completion]:
        """All texts, at most max_running at the same time, in their order; one that fails fails all."""
        all_source_ids = await asyncio.to_thread(lambda: [self.source_ids(text) for text in texts])
        running = asyncio.Semaphore(max_running)

        async def one(source_ids: tuple[int, ...]) -> Completion:
            async with running, aclosing(self.stream(source_ids, options)) as steps:
                async for step in steps:
                    if step.completion is not None:
                        return step.completion
            raise AssertionError("a stream ended without a completion")

        tasks = [asyncio.ensure_future(one(source_ids)) for source_ids in all_source_ids]
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
