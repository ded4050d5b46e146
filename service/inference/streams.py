"""The requests of one stream, side by side: each is a call of its own that is let in, counted and ended apart. A stream
may stay open for as long as its client likes, so it holds no model, and keeps no server from stopping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass

import grpc

from service.calls import Call, Calls, current_call
from service.errors import DeadlineExceededError, ServiceError, StoppingError
from service.inference.responses import refusal
from service.pb import inference_pb2 as pb
from service.statuses import STATUS, told_of

MAX_UNSENT = 64
"""Responses of all requests of a stream that wait to be sent; their requests wait with them."""
METHOD = "ModelStreamInferRequest"
"""What the call of one request is counted as, beside the stream's own."""

Steps = Callable[[pb.ModelInferRequest], AsyncGenerator[pb.ModelStreamInferResponse, None]]
"""The responses of one request; raises ServiceError."""


@dataclass(frozen=True)
class StreamRules:
    """How the server bounds a stream: gate raises ServiceError for a client whose requests are refused unread; of one
    stream max_running requests at a time, further ones wait with the client; max_call_s is in seconds, for a request
    whose caller has set no deadline, and for a stream without a request."""

    calls: Calls
    gate: Callable[[str], None]
    max_running: int
    max_call_s: float


@dataclass(frozen=True)
class _End:
    """After the last response; with the error that ends the stream, if one does."""

    error: ServiceError | None = None


async def responses_of(
    requests: AsyncIterator[pb.ModelInferRequest],
    steps: Steps,
    rules: StreamRules,
    *,
    remaining_s: float | None,
    is_strict: bool,
) -> AsyncGenerator[pb.ModelStreamInferResponse, None]:
    """As they are made. Ends with the last request's last response once there are no more requests. remaining_s is the
    stream's own deadline. is_strict: a request's error ends the stream; raises it, or StoppingError,
    or DeadlineExceededError where no request comes."""
    outbox: asyncio.Queue[pb.ModelStreamInferResponse | _End] = asyncio.Queue(MAX_UNSENT)
    stream = _Stream(current_call.get(), steps, rules, outbox, remaining_s=remaining_s, is_strict=is_strict)
    reader = asyncio.create_task(stream.read(requests))
    try:
        while not isinstance(response := await outbox.get(), _End):
            yield response
        if response.error is not None:
            raise response.error
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


class _Stream:
    """Reads the requests of one stream and serves them."""

    def __init__(
        self,
        call: Call,
        steps: Steps,
        rules: StreamRules,
        outbox: asyncio.Queue[pb.ModelStreamInferResponse | _End],
        *,
        remaining_s: float | None,
        is_strict: bool,
    ) -> None:
        self._call = call
        self._steps = steps
        self._rules = rules
        self._outbox = outbox
        self._deadline = None if remaining_s is None else time.monotonic() + remaining_s
        self._is_strict = is_strict
        self._running: set[asyncio.Task[None]] = set()

    async def read(self, requests: AsyncIterator[pb.ModelInferRequest]) -> None:
        """Serve all requests; whatever is left of them ends with this."""
        end = _End()
        try:
            try:
                await self._start_all(requests)
            except (Exception, asyncio.CancelledError) as error:
                if (told := told_of(error, self._call)) is None:
                    raise
                end = _End(told)
            if self._running:
                await asyncio.wait(self._running)
            await self._outbox.put(end)
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _start_all(self, requests: AsyncIterator[pb.ModelInferRequest]) -> None:
        arriving = asyncio.ensure_future(anext(requests, None))
        stopping = asyncio.create_task(self._rules.calls.until_stopping())
        try:
            while True:
                await asyncio.wait(
                    (arriving, stopping), timeout=self._rules.max_call_s, return_when=asyncio.FIRST_COMPLETED
                )
                if arriving.done():
                    if (request := arriving.result()) is None:
                        return
                    await self._start(request)
                    arriving = asyncio.ensure_future(anext(requests, None))
                elif stopping.done():
                    raise StoppingError("the server is stopping", pushback_ms=0)
                elif not self._running:
                    raise DeadlineExceededError(
                        "the stream has had no request for {limit} s", limit=self._rules.max_call_s
                    )
        finally:
            for task in (arriving, stopping):
                task.cancel()
            await asyncio.gather(arriving, stopping, return_exceptions=True)

    async def _start(self, request: pb.ModelInferRequest) -> None:
        while len(self._running) >= self._rules.max_running:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.create_task(self._serve(request))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _serve(self, request: pb.ModelInferRequest) -> None:
        call = Call(self._call.request_id, METHOD, peer=self._call.peer, caller=self._call.caller)
        current_call.set(call)
        call.deadline = call.started_at + self._rules.max_call_s if self._deadline is None else self._deadline
        call.code = grpc.StatusCode.CANCELLED.name
        try:
            with self._rules.calls.running(call):
                self._rules.gate(call.client)
                async with aclosing(self._steps(request)) as steps:
                    async for step in steps:
                        await self._outbox.put(step)
            call.code = grpc.StatusCode.OK.name
        except (Exception, asyncio.CancelledError) as error:
            if (told := told_of(error, call)) is None:
                raise
            call.code = STATUS[type(told)].name
            await self._outbox.put(_End(told) if self._is_strict else refusal(request, told))
        finally:
            self._rules.calls.ended(call)
