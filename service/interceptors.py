"""Wraps every gRPC method but health: opens its call, asks who calls, reads what is asked, ends each error with its
status."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from service.attempts import MAX_ATTEMPTS, refuse_after
from service.calls import Call, Calls, current_call
from service.errors import InvalidRequestError, ServiceError
from service.parsing import parse
from service.reading import read_all
from service.refusing import HEALTH
from service.request_ids import REQUEST_ID, ActiveIds, request_id_of
from service.security.access import Access, Grant
from service.statuses import STATUS, pushback_metadata, told_of
from service.unread import UnreadAnswers
from service.validation import Limits, model_of
from service.writing import write_all

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]


STATUS_S = 1.0
"""Seconds to wait until a status was sent. Behind a message that the client does not take it stays with gRPC, which
sends it if the client ever does, and the call is over for everything else."""
MAX_CALL = "x-stepstream-max-call-ms"
"""Trailing metadata of a call without a deadline: how long the server lets it take."""


@dataclass(frozen=True)
class _Entered:
    """A call that was let in."""

    call: Call
    grant: Grant
    deserialize: Callable[[bytes], Any]


class StatusInterceptor(grpc.aio.ServerInterceptor):
    """Domain errors become their status with their message; any other error becomes INTERNAL without details."""

    def __init__(
        self,
        calls: Calls,
        *,
        limits: Limits,
        access: Access,
        unread: UnreadAnswers,
        max_call_s: float | None = None,
        max_write_stall_s: float = 30.0,
        max_attempts: int = MAX_ATTEMPTS,
    ) -> None:
        """unread is told of every answer; max_call_s is how long a call may take whose caller has set no deadline;
        max_write_stall_s, how long a client may leave a message of its stream unread; max_attempts, after how many
        attempts a request is refused."""
        self._calls = calls
        self._limits = limits
        self._access = access
        self._unread = unread
        self._max_call_s = max_call_s
        self._max_write_stall_s = max_write_stall_s
        self._ids = ActiveIds()
        self._max_attempts = max_attempts

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        if handler_call_details.method.startswith(HEALTH):
            return _health(handler)
        if handler.response_streaming:
            return self._stream(handler, handler_call_details.method)
        return self._unary(handler, handler_call_details.method)

    def _unary(self, handler: Handler, path: str) -> Handler:
        behavior: Any = handler.unary_unary

        async def call(message: bytes, context: Any) -> Any:
            async with self._entered(handler, path, context) as entered:
                response = await behavior(self._read(message, entered), context)
            self._answered(entered.call, response.ByteSize())
            return response

        return grpc.unary_unary_rpc_method_handler(call, None, handler.response_serializer)

    def _stream(self, handler: Handler, path: str) -> Handler:
        behavior: Any = handler.stream_stream if handler.request_streaming else handler.unary_stream
        make = (
            grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
        )

        async def call(sent: Any, context: Any) -> None:
            is_first = True

            async def write(response: Any) -> None:
                # Headers by themselves, and none before the first token: a status can then follow a message that nobody
                # takes, and a request without a token can still be tried again.
                nonlocal is_first
                if is_first:
                    await context.send_initial_metadata(())
                    is_first = False
                await context.write(response)

            async with self._entered(handler, path, context) as entered:
                request = self._read_each(sent, entered) if handler.request_streaming else self._read(sent, entered)
                async with aclosing(behavior(request, context)) as responses:
                    await write_all(responses, write, max_stall_s=self._max_write_stall_s)
            self._answered(entered.call)

        return make(call, None, handler.response_serializer)

    @asynccontextmanager
    async def _entered(self, handler: Handler, path: str, context: Any) -> AsyncIterator[_Entered]:
        """One call, from its first to its last moment; whatever is raised in it ends as a status."""
        metadata = context.invocation_metadata() or ()
        call = Call(request_id_of(metadata), path.rpartition("/")[2], peer=context.peer())
        current_call.set(call)
        call.code = grpc.StatusCode.CANCELLED.name
        remaining_s = context.time_remaining()
        trailing = [(REQUEST_ID, call.request_id)]
        if remaining_s is None and (remaining_s := self._max_call_s) is not None:
            trailing.append((MAX_CALL, str(round(1e3 * remaining_s))))
        if remaining_s is not None:
            call.deadline = call.started_at + remaining_s
        context.set_trailing_metadata(tuple(trailing))
        try:
            with self._let_in(call, path, metadata) as grant:
                assert handler.request_deserializer is not None
                yield _Entered(call, grant, handler.request_deserializer)
            call.code = grpc.StatusCode.OK.name
        except grpc.aio.AbortError:
            call.code = context.code().name
            raise
        except (Exception, asyncio.CancelledError) as error:
            if (told := told_of(error, call)) is None:
                if context.time_remaining() == 0:
                    call.code = grpc.StatusCode.DEADLINE_EXCEEDED.name
                raise
            await self._abort(context, call, told, trailing)
        finally:
            self._calls.ended(call)

    def _answered(self, call: Call, num_bytes: int = 0) -> None:
        """The call's task lasts until gRPC has sent what it was given. A callback of the context's would be a cycle."""
        taken = self._unread.add(call.peer, num_bytes)
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda _: taken())

    async def _abort(self, context: Any, call: Call, error: ServiceError, trailing: Sequence[tuple[str, str]]) -> None:
        """gRPC keeps what is raised here, and with it the error, whose frames hold the model's version. A call that
        nobody waits for any more, or whose status waits behind a message, ends as one that was cancelled."""
        _forget_frames(error)
        code = STATUS[type(error)]
        call.code = code.name
        aborting = asyncio.ensure_future(context.abort(code, str(error), (*trailing, *pushback_metadata(error))))
        aborting.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # nobody else may ask for it
        await asyncio.wait((aborting,), timeout=STATUS_S)
        if not aborting.done():
            taken = self._unread.add(call.peer)
            aborting.add_done_callback(lambda _: taken())
            raise asyncio.CancelledError
        try:
            aborting.result()
        except grpc.aio.InternalError:
            raise asyncio.CancelledError from None
        finally:
            del aborting  # holds what was raised, which holds this frame

    @contextmanager
    def _let_in(self, call: Call, path: str, metadata: Any) -> Iterator[Grant]:
        """Who calls is known before a byte of the message is read. A request's id is free again before its status is
        sent."""
        with self._calls.running(call):
            grant = self._access.grant(path, metadata)
            call.caller = grant.caller
            refuse_after(self._max_attempts, metadata)
            with self._ids.held(call.caller, call.request_id):
                yield grant

    async def _read_each(self, messages: AsyncIterator[bytes], entered: _Entered) -> AsyncIterator[Any]:
        async with aclosing(read_all(messages)) as read:
            async for message in read:
                yield self._read(message, entered)

    def _read(self, message_bytes: bytes, entered: _Entered) -> Any:
        """The message, once it is known that it is one, that its model is the caller's to use, and that it is within
        the limits."""
        message, num_unknown_fields = parse(entered.deserialize, message_bytes)
        entered.call.num_unknown_fields += num_unknown_fields
        model = model_of(message)
        if model is not None:
            entered.grant.require_model(model)
        self._limits.check(message)
        return message


def _health(handler: Handler) -> Handler:
    """As it is, but for messages that are none and methods that nobody serves."""
    behavior: Any = handler.unary_stream if handler.response_streaming else handler.unary_unary
    make = grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
    assert handler.request_deserializer is not None
    deserialize = handler.request_deserializer

    async def call(message: bytes, context: Any) -> Any:
        try:
            request, _ = parse(deserialize, message)
        except InvalidRequestError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        try:
            return await behavior(request, context)
        except NotImplementedError:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "nobody serves this method")

    return make(call, None, handler.response_serializer)


def _forget_frames(error: BaseException | None) -> None:
    """And what they hold, of an error that was caught and of those that it was raised from, itself among them."""
    forgotten: set[int] = set()
    while error is not None and id(error) not in forgotten:
        forgotten.add(id(error))
        if isinstance(error, InvalidRequestError):  # others may be of several calls, whose frames are still needed
            traceback.clear_frames(error.__traceback__)
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
