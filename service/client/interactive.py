"""A translation that the caller edits while it is made: each edit gives the target's beginning anew."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import grpc
import grpc.aio

from service.client.ending import ending_of, ending_of_error
from service.client.errors import InvalidRequestError, ServerError
from service.client.requests import edit_request
from service.client.responses import StreamReader
from service.client.retry import Attempts
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
    Where the server is lost, another one starts with the beginning that the last edit gave, and steps that the caller
    has are not given again. Raises a StepstreamError.
    """

    def __init__(self, stub: TranslationServiceAsyncStub, start: pb.StreamTranslateRequest, attempts: Attempts) -> None:
        self._stub = stub
        self._start = start
        self._attempts = attempts
        self._received: deque[tuple[int, StreamEvent]] = deque()
        self._target: list[StepEvent] = []
        self._num_given = 0
        self._edit = 0
        self._completed_edit: int | None = None
        self._closed = False
        self._is_restarted = False
        self._sending: asyncio.Task[None] | None = None
        self._connect()

    def edit(self, prefix: str) -> int:
        """Make `prefix` the beginning of the target, and translate on from there; the number of this edit."""
        if self._closed:
            raise InvalidRequestError("the translation is closed and takes no edit")
        request = edit_request(prefix)
        self._requests.put_nowait(request)
        self._start.options.target_prefix = prefix
        self._start.options.ClearField("target_prefix_ids")
        self._edit += 1
        return self._edit

    def close(self) -> None:
        """Make no more edits: the iteration goes on until the last one is complete. Leaving the block cancels it."""
        self._closed = True
        self._requests.put_nowait(None)

    def cancel(self) -> None:
        """End what is under way."""
        self._stop_sending()
        self._call.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[int, StreamEvent]:
        while True:
            if not self._received:
                await self._receive()
                continue
            edit, event = self._received[0]
            if edit < self._edit:
                self._received.popleft()
            elif self._num_given < len(self._target):
                self._num_given += 1
                return edit, self._target[self._num_given - 1]
            else:
                self._received.popleft()
                if isinstance(event, Completion):
                    if self._completed_edit == edit:
                        continue
                    self._completed_edit = edit
                if not isinstance(event, StepEvent):
                    return edit, event

    def _connect(self) -> None:
        """Start with what the target begins with now; the server counts edits from here."""
        self._first_edit = self._edit
        self._reader = StreamReader()
        self._received.clear()
        self._is_again = bool(self._target)
        self._stop_sending()
        self._requests: _Requests = asyncio.Queue()
        start = pb.StreamTranslateRequest()
        start.CopyFrom(self._start)
        self._requests.put_nowait(pb.TranslateInteractiveRequest(start=start))
        if self._closed:
            self._requests.put_nowait(None)
        self._call: Any = self._stub.TranslateInteractive(**self._attempts.arguments())
        self._sending = asyncio.create_task(_send(self._requests, self._call))
        self._responses = aiter(self._call)

    def _stop_sending(self) -> None:
        if self._sending is not None:
            self._sending.cancel()

    async def _receive(self) -> None:
        """Wait for a message, of another server where one is lost; StopAsyncIteration where all is complete."""
        try:
            message = await anext(self._responses, None)
            if message is not None:
                self._read(message)
                return
            ending = ending_of(
                await self._call.code(), await self._call.details(), await self._call.trailing_metadata()
            )
        except grpc.RpcError as error:
            ending = ending_of_error(error)
        if self._closed and self._completed_edit == self._edit:
            raise StopAsyncIteration
        await asyncio.sleep(self._attempts.pause_s(ending, num_tokens=len(self._target)))
        self._is_restarted = True
        self._connect()

    def _read(self, message: pb.TranslateInteractiveResponse) -> None:
        self._start.version = message.response.version or self._start.version
        edit = self._first_edit + message.edit
        for event in self._reader.events(message.response):
            self._received.append((edit, event))
            if isinstance(event, StepEvent):
                self._take(event)
        if self._is_restarted and not self._is_again:
            self._is_restarted = False
            self._attempts = self._attempts.begun_again()

    def _take(self, step: StepEvent) -> None:
        """Steps that are out of date are part of the target too: a later edit may keep them."""
        if step.index > len(self._target):
            raise ServerError(f"the server sent step {step.index} of a target of {len(self._target)} tokens")
        if self._is_again and _same(step, self._target[step.index :]):
            return
        self._is_again = False
        self._target[step.index :] = [step]
        self._num_given = min(self._num_given, step.index)


def _same(step: StepEvent, held: Sequence[StepEvent]) -> bool:
    """Whether a step is the first of those held, whatever its numbers say."""
    return any((step.token_id, step.piece) == (first.token_id, first.piece) for first in held[:1])


@asynccontextmanager
async def open_interactive(
    stub: TranslationServiceAsyncStub, start: pb.StreamTranslateRequest, attempts: Attempts
) -> AsyncIterator[InteractiveTranslation]:
    """Start the translation; leaving the block cancels what is under way."""
    translation = InteractiveTranslation(stub, start, attempts)
    try:
        yield translation
    finally:
        translation.close()
        translation.cancel()


async def _send(requests: _Requests, call: Any) -> None:
    """Send what is put, up to None. A call that ended meanwhile takes no more, and its status says why: where grpc.aio
    iterates over requests itself, it may cancel such a call, and that becomes its status."""
    with suppress(grpc.aio.AioRpcError, grpc.aio.BaseError, asyncio.InvalidStateError):
        while (request := await requests.get()) is not None:
            await call.write(request)
        await call.done_writing()
