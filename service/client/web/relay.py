"""Carries calls of gRPC-Web from a browser to a gRPC server, message by message, and knows no message's content.

Each message goes on when it has come, and the next one is read when the browser's connection has taken it: a browser
that reads slowly slows the server's stream down. A browser that goes away cancels its call, so that its row is free at
the next step. The server's credentials stay here.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio

from service.client.addresses import SERVICE
from service.client.ending import PUSHBACK, REQUEST_ID, ending_of
from service.client.retry import ATTEMPT
from service.client.web.asgi import Receive, Scope, Send, header, respond, start
from service.client.web.frames import FrameError, message_frame, message_of, timeout_s, trailer_frame

CONTENT_TYPE = "application/grpc-web+proto"
RELAYED = frozenset(f"/{SERVICE}/{method}" for method in ("ListModels", "StreamTranslate"))
"""What the page needs. Nothing else is relayed."""
SENT = (REQUEST_ID, ATTEMPT)
RETURNED = (REQUEST_ID, PUSHBACK)
MAX_REQUEST_BYTES = 64 * 2**10
MAX_CALL_S = 120.0
REQUEST_S = 10.0
"""Seconds in which a request must have come."""
MAX_STALL_S = 30.0


class Relay:
    """Relays the methods of RELAYED to the server of a channel. It does not own the channel."""

    def __init__(self, channel: grpc.aio.Channel, *, max_stall_s: float = MAX_STALL_S) -> None:
        """max_stall_s: how long a browser may leave a message untaken before its call is ended."""
        # To gRPC a single answer is a stream of one message.
        self._calls: dict[str, Any] = {path: channel.unary_stream(path) for path in RELAYED}
        self._max_stall_s = max_stall_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call. Its path is one of RELAYED."""
        if header(scope, "content-type") != CONTENT_TYPE:
            await respond(send, 415, b"gRPC-Web alone\n")
            return
        try:
            async with asyncio.timeout(REQUEST_S):
                body = await _body(receive)
            message, limit_s = message_of(body), timeout_s(header(scope, "grpc-timeout"))
            metadata = _metadata(scope)
        except FrameError as error:
            await respond(send, 400, f"{error}\n".encode())
            return
        except _TooLargeError:
            await start(send, 200, CONTENT_TYPE)
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            frame = trailer_frame(code.value[0], f"a message has at most {MAX_REQUEST_BYTES} bytes", ())
            await send({"type": "http.response.body", "body": frame})
            return
        except (TimeoutError, _GoneError):
            return
        call = self._calls[scope["path"]](message, timeout=min(limit_s or MAX_CALL_S, MAX_CALL_S), metadata=metadata)
        await self._carry(call, receive, send)

    async def _carry(self, call: Any, receive: Receive, send: Send) -> None:
        """Everything that the server answers, for as long as the browser is there and takes it."""

        async def write(frame: bytes, *, is_last: bool = False) -> None:
            async with asyncio.timeout(self._max_stall_s):
                await send({"type": "http.response.body", "body": frame, "more_body": not is_last})

        watch = asyncio.create_task(_cancel_when_gone(receive, call.cancel))
        try:
            await start(send, 200, CONTENT_TYPE)
            await _messages(call, write)
            if not watch.done():
                await write(await _trailers(call), is_last=True)
        except TimeoutError:
            return
        finally:
            call.cancel()
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch


async def _messages(call: Any, write: Callable[[bytes], Awaitable[None]]) -> None:
    """Until the call has ended, whatever way."""
    try:
        async for message in call:
            await write(message_frame(message))
    except grpc.RpcError:
        return
    except asyncio.CancelledError:
        if not call.cancelled() or _is_cancelled():
            raise


async def _trailers(call: Any) -> bytes:
    """The last frame. Only a server of ours speaks for itself: gRPC's own words name addresses."""
    code, details, trailing = await call.code(), await call.details(), await call.trailing_metadata()
    ending = ending_of(code, details, trailing)
    if not ending.is_answered and code is not grpc.StatusCode.OK:
        details = "the server cannot be reached, or was lost"
    metadata = [(name, value) for name, value in trailing or () if name in RETURNED and isinstance(value, str)]
    return trailer_frame(code.value[0], details or "", metadata)


class _TooLargeError(Exception):
    pass


class _GoneError(Exception):
    pass


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        body += message.get("body", b"")
        if len(body) > MAX_REQUEST_BYTES:
            raise _TooLargeError
        if not message.get("more_body", False):
            return bytes(body)


async def _cancel_when_gone(receive: Receive, cancel: Callable[[], object]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    cancel()


def _metadata(scope: Scope) -> tuple[tuple[str, str], ...]:
    metadata = tuple((name, value) for name in SENT if (value := header(scope, name)))
    if not all(re.fullmatch(r"[\x20-\x7e]{1,128}", value) for _, value in metadata):
        raise FrameError("metadata is printable ASCII")
    return metadata


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
