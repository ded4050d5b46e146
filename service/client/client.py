"""Typed clients, asynchronous and synchronous, of one server. No protobuf type leaves this file.

Closing an iterator of `stream`, or dropping it, cancels the call: the server frees its slot at the next step.
Every call raises a StepstreamError of `service.client.errors`; timeout_s, in seconds, becomes the gRPC deadline.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Self

from service.client import requests, responses
from service.client.channel import (
    CONNECT_TIMEOUT_S,
    DEFAULT_ADDRESS,
    channel_options,
    open_async_channel,
    open_channel,
)
from service.client.credentials import Credentials, credentials_from
from service.client.errors import named_errors
from service.client.interactive import InteractiveTranslation, open_interactive
from service.client.options import GREEDY, DecodingOptions
from service.client.types import ModelInfo, ScoredTarget, StreamEvent, Translation
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceStub


class AsyncClient:
    """Calls the server at HOST:PORT from asyncio. Make it inside a running event loop, and use it as `async with`."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        credentials: Credentials | None = None,
    ) -> None:
        """credentials: None for those that the environment names, if any."""
        self.address = address
        credentials = credentials or credentials_from()
        self._channel = open_async_channel(address, channel_options(connect_timeout_s), credentials)
        self._stub = TranslationServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Cancel the calls under way and close the connection."""
        await self._channel.close()

    async def translate(
        self,
        texts: Sequence[str],
        *,
        model: str,
        version: int = 0,
        options: DecodingOptions = GREEDY,
        timeout_s: float | None = None,
    ) -> list[Translation]:
        """The translations, in the order of the texts. version 0: the newest."""
        request = requests.translate_request(texts, model=model, version=version, options=options)
        with named_errors(self.address):
            response = await self._stub.Translate(request, timeout=timeout_s)
        return responses.translations_from(response, num_texts=len(texts))

    async def stream(
        self,
        text: str,
        *,
        model: str,
        version: int = 0,
        options: DecodingOptions = GREEDY,
        timeout_s: float | None = None,
        include_attention: bool = False,
    ) -> AsyncGenerator[StreamEvent, None]:
        """Each token as it is settled, with what is tentative after it in a beam search, then one completion."""
        request = requests.stream_request(
            text, model=model, version=version, options=options, include_attention=include_attention
        )
        reader = responses.StreamReader()
        call = self._stub.StreamTranslate(request, timeout=timeout_s)
        try:
            with named_errors(self.address):
                async for message in call:
                    for event in reader.events(message):
                        yield event
            reader.check_completed()
        finally:
            call.cancel()

    def interactive(
        self,
        text: str,
        *,
        model: str,
        version: int = 0,
        options: DecodingOptions = GREEDY,
        timeout_s: float | None = None,
        include_attention: bool = False,
    ) -> AbstractAsyncContextManager[InteractiveTranslation]:
        """A translation to edit while it is made, for greedy search or sampling: `async with` starts it, leaving the
        block cancels what is under way."""
        request = requests.stream_request(
            text, model=model, version=version, options=options, include_attention=include_attention
        )
        return open_interactive(self._stub, request, address=self.address, timeout_s=timeout_s)

    async def score(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        model: str,
        version: int = 0,
        timeout_s: float | None = None,
    ) -> list[ScoredTarget]:
        """The score of each target, given its source, in the order of the pairs. version 0: the newest."""
        request = requests.score_request(pairs, model=model, version=version)
        with named_errors(self.address):
            response = await self._stub.Score(request, timeout=timeout_s)
        return responses.scores_from(response, num_pairs=len(pairs))

    async def list_models(self, *, timeout_s: float | None = None) -> list[ModelInfo]:
        """Every loaded version of every model, by name, then by version."""
        with named_errors(self.address):
            response = await self._stub.ListModels(pb.ListModelsRequest(), timeout=timeout_s)
        return [responses.model_from(model) for model in response.models]

    async def get_model(self, model: str, *, version: int = 0, timeout_s: float | None = None) -> ModelInfo:
        """One model with its certificate. version 0: the newest."""
        request = requests.get_model_request(model, version=version)
        with named_errors(self.address):
            response = await self._stub.GetModel(request, timeout=timeout_s)
        return responses.model_from(response.model)


class Client:
    """Calls the server at HOST:PORT and waits for it. Use it as `with`; threads may share it."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        credentials: Credentials | None = None,
    ) -> None:
        """credentials: None for those that the environment names, if any."""
        self.address = address
        credentials = credentials or credentials_from()
        self._channel = open_channel(address, channel_options(connect_timeout_s), credentials)
        self._stub = TranslationServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel the calls under way and close the connection."""
        self._channel.close()

    def translate(
        self,
        texts: Sequence[str],
        *,
        model: str,
        version: int = 0,
        options: DecodingOptions = GREEDY,
        timeout_s: float | None = None,
    ) -> list[Translation]:
        """The translations, in the order of the texts. version 0: the newest."""
        request = requests.translate_request(texts, model=model, version=version, options=options)
        with named_errors(self.address):
            response = self._stub.Translate(request, timeout=timeout_s)
        return responses.translations_from(response, num_texts=len(texts))

    def stream(
        self,
        text: str,
        *,
        model: str,
        version: int = 0,
        options: DecodingOptions = GREEDY,
        timeout_s: float | None = None,
        include_attention: bool = False,
    ) -> Generator[StreamEvent, None, None]:
        """Each token as it is settled, with what is tentative after it in a beam search, then one completion."""
        request = requests.stream_request(
            text, model=model, version=version, options=options, include_attention=include_attention
        )
        reader = responses.StreamReader()
        call = self._stub.StreamTranslate(request, timeout=timeout_s)
        try:
            with named_errors(self.address):
                for message in call:
                    yield from reader.events(message)
            reader.check_completed()
        finally:
            call.cancel()

    def score(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        model: str,
        version: int = 0,
        timeout_s: float | None = None,
    ) -> list[ScoredTarget]:
        """The score of each target, given its source, in the order of the pairs. version 0: the newest."""
        request = requests.score_request(pairs, model=model, version=version)
        with named_errors(self.address):
            response = self._stub.Score(request, timeout=timeout_s)
        return responses.scores_from(response, num_pairs=len(pairs))

    def list_models(self, *, timeout_s: float | None = None) -> list[ModelInfo]:
        """Every loaded version of every model, by name, then by version."""
        with named_errors(self.address):
            response = self._stub.ListModels(pb.ListModelsRequest(), timeout=timeout_s)
        return [responses.model_from(model) for model in response.models]

    def get_model(self, model: str, *, version: int = 0, timeout_s: float | None = None) -> ModelInfo:
        """One model with its certificate. version 0: the newest."""
        request = requests.get_model_request(model, version=version)
        with named_errors(self.address):
            response = self._stub.GetModel(request, timeout=timeout_s)
        return responses.model_from(response.model)
