"""Feeds one engine with many sentences at once, the longest first. It knows neither files nor Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from service.corpora.shards import Text, Translation, Unusable
from service.errors import EncodeFailedError, InvalidRequestError, RequestFailedError, StepTimeoutError
from service.options import Options
from service.registry import LoadedModel

FEEDERS_A_ROW = 2
"""Sentences that are read or wait, for each row, so that every step is full."""


@dataclass(frozen=True)
class Translated:
    """A translation for each text, in their order, and how many tokens they have together."""

    translations: list[Translation]
    num_tokens: int


class SentenceTranslator:
    """Owns an event loop and the engines of one model. `start` and `stop` once each, all from one thread."""

    def __init__(self, model: LoadedModel, options: Options, *, num_rows: int) -> None:
        """num_rows: of the steps of all engines together."""
        self._model = model
        self._options = options
        self._num_feeders = FEEDERS_A_ROW * num_rows
        self._runner = asyncio.Runner()

    def start(self) -> None:
        self._runner.run(self._start())

    def stop(self) -> None:
        self._runner.run(self._model.engine.stop())
        self._runner.close()

    def translate(self, texts: Sequence[Text]) -> Translated:
        """A text of white space becomes an empty one; one that cannot be translated fails alone. Raises the error of an
        engine that fails altogether."""
        return self._runner.run(self._translate(texts))

    async def _start(self) -> None:
        self._model.engine.start()

    async def _translate(self, texts: Sequence[Text]) -> Translated:
        shard = _Shard(self._model, self._options, texts)
        async with asyncio.TaskGroup() as feeders:
            for _ in range(min(self._num_feeders, len(texts))):
                feeders.create_task(shard.feed())
        return Translated(shard.translations, shard.num_tokens)


class _Shard:
    """Sentences sorted by length have steps of rows that end together, and encodes with little padding; the shortest
    come last, so that few rows are left alone at the end."""

    def __init__(self, model: LoadedModel, options: Options, texts: Sequence[Text]) -> None:
        self._translator = model.translator
        self._options = options
        self.translations: list[Translation] = list(texts)
        self.num_tokens = 0
        self._waiting = self._longest_first()

    def _longest_first(self) -> Iterator[tuple[int, str]]:
        texts = [(place, text) for place, text in enumerate(self.translations) if isinstance(text, str)]
        return iter(sorted(texts, key=lambda item: len(item[1]), reverse=True))

    async def feed(self) -> None:
        """Translate one sentence after another until none waits."""
        for place, text in self._waiting:
            self.translations[place] = await self._translate(text) if text.strip() else ""

    async def _translate(self, text: str) -> Translation:
        while True:
            try:
                source = await self._translator.read(text, self._options)
                completion = await self._translator.complete(source, self._options)
            except StepTimeoutError:
                continue  # the step may have been another's; an engine that has a second one fails
            except (InvalidRequestError, EncodeFailedError, RequestFailedError) as error:
                return Unusable(str(error))
            self.num_tokens += completion.best.num_target_tokens
            return completion.best.text
