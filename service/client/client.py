"""Typed clients, asynchronous and synchronous, of one server or of several replicas. No protobuf type leaves this file.

A call that a server refuses for now, or that is lost with its server, is tried again as `service.client.retry` says; a
stream goes on after the tokens that it has brought. Closing an iterator of `stream`, or dropping it, cancels the call:
the server frees its slot at the next step. Every call raises a StepstreamError of `service.client.errors`; timeout_s,
in seconds for all attempts together, becomes the gRPC deadline.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Self

import grpc

from service.client import requests, responses
from service.client.addresses import target_of
from service.client.channel import (
    CONNECT_TIMEOUT_S,
    DEFAULT_ADDRESS,
    channel_options,
    open_async_channel,
    open_channel,
)
from service.client.credentials import Credentials, credentials_from
from service.client.ending import ending_of, ending_of_error
from service.client.interactive import InteractiveTranslation, open_interactive
from service.client.options import GREEDY, DecodingOptions
from service.client.resumption import ResumableStream
from service.client.retry import RETRY, Retry, RetryPolicy, make_retries
from service.client.tracing import cancel, status_of, traced, tracing_interceptors
from service.client.types import ModelInfo, ScoredTarget, StreamEvent, Translation
from service.client.versions import Version
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceStub


class AsyncClient:
    """Calls one server or several replicas from asyncio. Make it inside a running event loop, for `async with`."""

    def __init__(
        self,
        address: str | Sequence[str] = DEFAULT_ADDRESS,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        credentials: Credentials | None = None,
        retry: RetryPolicy = RETRY,
        on_retry: Callable[[Retry], None] | None = None,
    ) -> None:
        """address: HOST:PORT of a server or a proxy, those of several replicas, with commas between or as a list, or
        dns:///HOST:PORT for all that a name has.
        credentials: None for those that the environment names, if any. on_retry is told of every call that is tried
        again."""
        target = target_of(address)
        self.address = target.shown
        options = [*channel_options(connect_timeout_s), *target.options]
        self._channel = open_async_channel(
            target.name, options, credentials or credentials_from(), tracing_interceptors()
        )
        self._retries = make_retries(self.address, retry, on_retry)
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
        version: Version = 0,
        options: DecodingOptions = GREEDY,
        timeout_s: float | None = None,
    ) -> list[Translation]:
        """The translations, in the order of the texts. version 0: the newest."""
        request = requests.translate_request(texts, model=model, version=version, options=options)
        response = await self._call(self._stub.Translate, request, timeout_s)
        return responses.translations_from(response, num_texts=len(texts))

    async def stream(
        self,
        text: str,
        *,
        model: str,
        version: Version = 0,
        options: DecodingOptions = GREEDY,
        timeout_s: float | None = None,
        include_attention: bool = False,
    ) -> AsyncGenerator[StreamEvent, None]:
        """Each token as it is settled, with what is tentative after it in a beam search, then one completion."""
        request = requests.stream_request(
            text, model=model, version=version, options=options, include_attention=include_attention
        )
        stream = ResumableStream(request)
        attempts = self._retries.call(timeout_s)
        while not stream.is_complete:
            call = self._stub.StreamTranslate(stream.request(), **attempts.arguments())
            try:
                async for message in call:
                    for event in stream.events(message):
                        attempts.progressed()
                        yield event
                ending = ending_of(await call.code(), await call.details(), await call.trailing_metadata())
            except grpc.RpcError as error:
                ending = ending_of_error(error)
            finally:
                call.cancel()
            if not stream.is_complete:
                await asyncio.sleep(attempts.pause_s(ending, num_tokens=stream.num_tokens))
        attempts.succeeded()

    def interactive(
        self,
        text: str,
        *,
        model: str,
        version: Version = 0,
        options: DecodingOptions = GREEDY,
        timeout_s: float | None = None,
        include_attention: bool = False,
    ) -> AbstractAsyncContextManager[InteractiveTranslation]:
        """A translation to edit while it is made, for greedy search or sampling: `async with` starts it, leaving the
        block cancels what is under way."""
        request = requests.stream_request(
            text, model=model, version=version, options=options, include_attention=include_attention
        )
        return open_interactive(self._stub, request, self._retries.call(timeout_s))

    async def score(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        model: str,
        version: Version = 0,
        timeout_s: float | None = None,
    ) -> list[ScoredTarget]:
        """The score of each target, given its source, in the order of the pairs. version 0: the newest."""
        request = requests.score_request(pairs, model=model, version=version)
        response = await self._call(self._stub.Score, request, timeout_s)
        return responses.scores_from(response, num_pairs=len(pairs))

    async def list_models(self, *, timeout_s: float | None = None) -> list[ModelInfo]:
        """Every loaded version of every model, by name, then by version."""
        response = await self._call(self._stub.ListModels, pb.ListModelsRequest(), timeout_s)
        return [responses.model_from(model) for model in response.models]

    async def get_model(self, model: str, *, version: Version = 0, timeout_s: float | None = None) -> ModelInfo:
        """One model with its certificate. version 0: the newest."""
        request = requests.get_model_request(model, version=version)
        response = await self._call(self._stub.GetModel, request, timeout_s)
        return responses.model_from(response.model)

    async def _call(self, method: Any, request: Any, timeout_s: float | None) -> Any:
        """What a method of one request and one response answers."""
        attempts = self._retries.call(timeout_s)
        while True:
            try:
                response = await method(request, **attempts.arguments())
            except grpc.RpcError as error:
                ending = ending_of_error(error)
            else:
                attempts.succeeded()
                return response
            await asyncio.sleep(attempts.pause_s(ending))


class Client:
    """Calls one server or several replicas and waits for it. Use it as `with`; threads may share it."""

    def __init__(
        self,
        address: str | Sequence[str] = DEFAULT_ADDRESS,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        credentials: Credentials | None = None,
        retry: RetryPolicy = RETRY,
        on_retry: Callable[[Retry], None] | None = None,
    ) -> None:
        """address: HOST:PORT of a server or a proxy, those of several replicas, with commas between or as a list, or
        dns:///HOST:PORT for all that a name has.
        credentials: None for those that the environment names, if any. on_retry is told of every call that is tried
        again."""
        target = target_of(address)
        self.address = target.shown
        options = [*channel_options(connect_timeout_s), *target.options]
        self._channel = open_channel(target.name, options, credentials or credentials_from())
        self._retries = make_retries(self.address, retry, on_retry)
        self._stub = TranslationServiceStub(traced(self._channel))

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
        version: Version = 0,
        options: DecodingOptions = GREEDY,
        timeout_s: float | None = None,
    ) -> list[Translation]:
        """The translations, in the order of the texts. version 0: the newest."""
        request = requests.translate_request(texts, model=model, version=version, options=options)
        response = self._call(self._stub.Translate, request, timeout_s)
        return responses.translations_from(response, num_texts=len(texts))

    def stream(
        self,
        text: str,
        *,
        model: str,
        version: Version = 0,
        options: DecodingOptions = GREEDY,
        timeout_s: float | None = None,
        include_attention: bool = False,
    ) -> Generator[StreamEvent, None, None]:
        """Each token as it is settled, with what is tentative after it in a beam search, then one completion."""
        request = requests.stream_request(
            text, model=model, version=version, options=options, include_attention=include_attention
        )
        stream = ResumableStream(request)
        attempts = self._retries.call(timeout_s)
        while not stream.is_complete:
            call = self._stub.StreamTranslate(stream.request(), **attempts.arguments())
            try:
                for message in call:
                    for event in stream.events(message):
                        attempts.progressed()
                        yield event
                ending = ending_of(*status_of(call))
            except grpc.RpcError as error:
                ending = ending_of_error(error)
            finally:
                cancel(call)
            if not stream.is_complete:
                time.sleep(attempts.pause_s(ending, num_tokens=stream.num_tokens))
        attempts.succeeded()

    def score(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        model: str,
        version: Version = 0,
        timeout_s: float | None = None,
    ) -> list[ScoredTarget]:
        """The score of each target, given its source, in the order of the pairs. version 0: the newest."""
        request = requests.score_request(pairs, model=model, version=version)
        response = self._call(self._stub.Score, request, timeout_s)
        return responses.scores_from(response, num_pairs=len(pairs))

    def list_models(self, *, timeout_s: float | None = None) -> list[ModelInfo]:
        """Every loaded version of every model, by name, then by version."""
        response = self._call(self._stub.ListModels, pb.ListModelsRequest(), timeout_s)
        return [responses.model_from(model) for model in response.models]

    def get_model(self, model: str, *, version: Version = 0, timeout_s: float | None = None) -> ModelInfo:
        """One model with its certificate. version 0: the newest."""
        request = requests.get_model_request(model, version=version)
        response = self._call(self._stub.GetModel, request, timeout_s)
        return responses.model_from(response.model)

    def _call(self, method: Any, request: Any, timeout_s: float | None) -> Any:
        """What a method of one request and one response answers."""
        attempts = self._retries.call(timeout_s)
        while True:
            try:
                response = method(request, **attempts.arguments())
            except grpc.RpcError as error:
                ending = ending_of_error(error)
            else:
                attempts.succeeded()
                return response
            time.sleep(attempts.pause_s(ending))
