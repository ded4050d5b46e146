"""Typed clients, asynchronous and synchronous, of one server. No protobuf type leaves this file.

Closing an iterator of `stream`, or dropping it, cancels the call: the server frees its slot at the next step.
Every call raises a StepstreamError of `service.client.errors`; timeout_s, in seconds, becomes the gRPC deadline.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from typing import Self

import grpc

from service.client import messages
from service.client.errors import named_errors
from service.client.types import Completion, ModelInfo, StepEvent, Translation
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceStub

DEFAULT_ADDRESS = "127.0.0.1:8001"
CONNECT_TIMEOUT_S = 4.0
MAX_MESSAGE_BYTES = 64 * 2**20  # 1,024 texts of 10,000 characters, four bytes each, fit


def _channel_options(connect_timeout_s: float) -> list[tuple[str, int]]:
    connect_timeout_ms = round(connect_timeout_s * 1000)
    return [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.min_reconnect_backoff_ms", connect_timeout_ms),  # gRPC's name for the time one connect may take
        ("grpc.initial_reconnect_backoff_ms", min(500, connect_timeout_ms)),
        ("grpc.max_reconnect_backoff_ms", max(5_000, connect_timeout_ms)),
        ("grpc.dns_ares_query_timeout", connect_timeout_ms),
    ]


class AsyncClient:
    """Calls the server at HOST:PORT from asyncio. Make it inside a running event loop, and use it as `async with`."""

    def __init__(self, address: str = DEFAULT_ADDRESS, *, connect_timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        self.address = address
        self._channel = grpc.aio.insecure_channel(address, options=_channel_options(connect_timeout_s))
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
        max_length: int = 0,
        seed: int | None = None,
        timeout_s: float | None = None,
    ) -> list[Translation]:
        """The translations, in the order of the texts. version 0: the newest; max_length 0: the model's
        longest; seed: draw what the model can draw, None: take what is most probable."""
        request = messages.translate_request(texts, model=model, version=version, max_length=max_length, seed=seed)
        with named_errors(self.address):
            response = await self._stub.Translate(request, timeout=timeout_s)
        return messages.translations_from(response, num_texts=len(texts))

    async def stream(
        self,
        text: str,
        *,
        model: str,
        version: int = 0,
        max_length: int = 0,
        seed: int | None = None,
        timeout_s: float | None = None,
        include_attention: bool = False,
    ) -> AsyncGenerator[StepEvent | Completion, None]:
        """Each decoder step as it is made, then one completion."""
        request = messages.stream_request(
            text,
            model=model,
            version=version,
            max_length=max_length,
            seed=seed,
            include_attention=include_attention,
        )
        reader = messages.StreamReader()
        call = self._stub.StreamTranslate(request, timeout=timeout_s)
        try:
            with named_errors(self.address):
                async for message in call:
                    for event in reader.events(message):
                        yield event
            reader.check_completed()
        finally:
            call.cancel()

    async def list_models(self, *, timeout_s: float | None = None) -> list[ModelInfo]:
        """Every loaded version of every model, by name, then by version."""
        with named_errors(self.address):
            response = await self._stub.ListModels(pb.ListModelsRequest(), timeout=timeout_s)
        return [messages.model_from(model) for model in response.models]

    async def get_model(self, model: str, *, version: int = 0, timeout_s: float | None = None) -> ModelInfo:
        """One model with its certificate. version 0: the newest."""
        request = messages.get_model_request(model, version=version)
        with named_errors(self.address):
            response = await self._stub.GetModel(request, timeout=timeout_s)
        return messages.model_from(response.model)


class Client:
    """Calls the server at HOST:PORT and waits for it. Use it as `with`; threads may share it."""

    def __init__(self, address: str = DEFAULT_ADDRESS, *, connect_timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        self.address = address
        self._channel = grpc.insecure_channel(address, options=_channel_options(connect_timeout_s))
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
        max_length: int = 0,
        seed: int | None = None,
        timeout_s: float | None = None,
    ) -> list[Translation]:
        """The translations, in the order of the texts. version 0: the newest; max_length 0: the model's
        longest; seed: draw what the model can draw, None: take what is most probable."""
        request = messages.translate_request(texts, model=model, version=version, max_length=max_length, seed=seed)
        with named_errors(self.address):
            response = self._stub.Translate(request, timeout=timeout_s)
        return messages.translations_from(response, num_texts=len(texts))

    def stream(
        self,
        text: str,
        *,
        model: str,
        version: int = 0,
        max_length: int = 0,
        seed: int | None = None,
        timeout_s: float | None = None,
        include_attention: bool = False,
    ) -> Generator[StepEvent | Completion, None, None]:
        """Each decoder step as it is made, then one completion."""
        request = messages.stream_request(
            text,
            model=model,
            version=version,
            max_length=max_length,
            seed=seed,
            include_attention=include_attention,
        )
        reader = messages.StreamReader()
        call = self._stub.StreamTranslate(request, timeout=timeout_s)
        try:
            with named_errors(self.address):
                for message in call:
                    yield from reader.events(message)
            reader.check_completed()
        finally:
            call.cancel()

    def list_models(self, *, timeout_s: float | None = None) -> list[ModelInfo]:
        """Every loaded version of every model, by name, then by version."""
        with named_errors(self.address):
            response = self._stub.ListModels(pb.ListModelsRequest(), timeout=timeout_s)
        return [messages.model_from(model) for model in response.models]

    def get_model(self, model: str, *, version: int = 0, timeout_s: float | None = None) -> ModelInfo:
        """One model with its certificate. version 0: the newest."""
        request = messages.get_model_request(model, version=version)
        with named_errors(self.address):
            response = self._stub.GetModel(request, timeout=timeout_s)
        return messages.model_from(response.model)
