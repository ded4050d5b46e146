"""A translation that the caller edits while it is made: each edit gives the target's beginning anew."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self, TypeAlias

from service.client.errors import InvalidRequestError, ServerError, named_errors
from service.client.requests import edit_request
from service.client.responses import StreamReader
from service.client.types import Completion, StepEvent, StreamEvent
from service.pb import translation_pb2 as pb

if TYPE_CHECKING:
    from service.pb.translation_pb2_grpc import TranslationServiceAsyncStub

_Requests: TypeAlias = asyncio.Queue[pb.TranslateInteractiveRequest | None]


class InteractiveTranslation:
    """An iterator of (edit, event) pairs: edit 0 is the start, 1 the first edit. `AsyncClient.interactive` makes it.

    Events of an older edit than the last one are left out. A step takes the place of the one with its index and of all
    after that. A step that was left out, but is kept by a later edit, is given with that one: the steps given always
    are the target as it stands. The iteration ends after `close`, when the last edit is complete.
    Raises a StepstreamError.
    """

    def __init__(
        self, requests: _Requests, responses: AsyncIterable[pb.TranslateInteractiveResponse], address: str
    ) -> None:
        self._requests = requests
        self._responses = aiter(responses)
        self._address = address
        self._reader = StreamReader()
        self._received: deque[tuple[int, StreamEvent]] = deque()
        self._target: list[StepEvent] = []
        self._num_given = 0
        self._edit = 0
        self._completed_edit: int | None = None
        self._closed = False

    def edit(self, prefix: str) -> int:
        """Make `prefix` the beginning of the target, and translate on from there; the number of this edit."""
        if self._closed:
            raise InvalidRequestError("the translation is closed and takes no edit")
        self._requests.put_nowait(edit_request(prefix))
        self._edit += 1
        return self._edit

    def close(self) -> None:
        """Make no more edits: the iteration goes on until the last one is complete. Leaving the block cancels it."""
        self._closed = True
        self._requests.put_nowait(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[int, StreamEvent]:
        while True:
            if not self._received:
                await self._receive()
            edit, event = self._received[0]
            if edit < self._edit:
                self._received.popleft()
            elif self._num_given < len(self._target):
                self._num_given += 1
                return edit, self._target[self._num_given - 1]
            else:
                self._received.popleft()
                if isinstance(event, Completion):
                    self._completed_edit = edit
                if not isinstance(event, StepEvent):
                    return edit, event

    async def _receive(self) -> None:
        """Wait for a message; StopAsyncIteration where the server has ended the call as it should."""
        with named_errors(self._address):
            message = await anext(self._responses, None)
        if message is None:
            if not self._closed or self._completed_edit != self._edit:
                raise ServerError("the server ended the stream before the last edit was complete")
            raise StopAsyncIteration
        for event in self._reader.events(message.response):
            self._received.append((message.edit, event))
            if isinstance(event, StepEvent):
                self._take(event)

    def _take(self, step: StepEvent) -> None:
        """Steps that are out of date are part of the target too: a later edit may keep them."""
        if step.index > len(self._target):
            raise ServerError(f"the server sent step {step.index} of a target of {len(self._target)} tokens")
        self._target[step.index :] = [step]
        self._num_given = min(self._num_given, step.index)


@asynccontextmanager
async def open_interactive(
    stub: TranslationServiceAsyncStub, start: pb.StreamTranslateRequest, *, address: str, timeout_s: float | None
) -> AsyncIterator[InteractiveTranslation]:
    """Start the translation; leaving the block cancels what is under way."""
    requests: _Requests = asyncio.Queue()
    requests.put_nowait(pb.TranslateInteractiveRequest(start=start))
    call = stub.TranslateInteractive(_until_none(requests), timeout=timeout_s)
    translation = InteractiveTranslation(requests, call, address)
    try:
        yield translation
    finally:
        translation.close()
        call.cancel()


async def _until_none(requests: _Requests) -> AsyncIterator[pb.TranslateInteractiveRequest]:
    while (request := await requests.get()) is not None:
        yield request
