"""What a caller is told of whatever ends a request: its error, the gRPC status of that, and when to try again."""

from __future__ import annotations

import asyncio
import traceback

import grpc
import grpc.aio
import structlog

from service.admission.pushback import RESTART_S, pushback_ms
from service.calls import Call
from service.errors import (
    AbandonedError,
    AttemptsExhaustedError,
    ClientStalledError,
    DeadlineExceededError,
    DuplicateRequestError,
    EncodeFailedError,
    EngineFailedError,
    InternalError,
    InvalidRequestError,
    ModelLoadingError,
    ModelNotFoundError,
    NotPossibleError,
    PermissionDeniedError,
    QueueFullError,
    RequestFailedError,
    ServiceError,
    StepTimeoutError,
    StoppingError,
    UnauthenticatedError,
)

STATUS: dict[type[ServiceError], grpc.StatusCode] = {
    InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    DuplicateRequestError: grpc.StatusCode.ALREADY_EXISTS,
    ModelNotFoundError: grpc.StatusCode.NOT_FOUND,
    ModelLoadingError: grpc.StatusCode.UNAVAILABLE,
    NotPossibleError: grpc.StatusCode.FAILED_PRECONDITION,
    QueueFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineExceededError: grpc.StatusCode.DEADLINE_EXCEEDED,
    EncodeFailedError: grpc.StatusCode.INTERNAL,
    RequestFailedError: grpc.StatusCode.INTERNAL,
    StepTimeoutError: grpc.StatusCode.UNAVAILABLE,
    ClientStalledError: grpc.StatusCode.DEADLINE_EXCEEDED,
    StoppingError: grpc.StatusCode.UNAVAILABLE,
    EngineFailedError: grpc.StatusCode.UNAVAILABLE,
    AbandonedError: grpc.StatusCode.UNAVAILABLE,
    InternalError: grpc.StatusCode.INTERNAL,
    AttemptsExhaustedError: grpc.StatusCode.FAILED_PRECONDITION,
}
PUSHBACK = "grpc-retry-pushback-ms"
"""Trailing metadata that tells a client when to try again (gRFC A6)."""
REFUSALS = (QueueFullError, StoppingError, EngineFailedError)
"""What may succeed later or elsewhere: the caller is always told when to try again."""

_log = structlog.get_logger()


def told_of(error: BaseException, call: Call) -> ServiceError | None:
    """The error that the caller is told; what nobody foresaw is logged, and told without particulars. None where the
    caller has gone, or has taken the request back: nobody is left to be told."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, asyncio.CancelledError):
        if _is_cancelled():
            return None
        _log.error("request abandoned", method=call.method, request_id=call.request_id, frames=_frames(error))
        return AbandonedError("the server gave the request up; it may be tried again")
    if isinstance(error, grpc.aio.BaseError):  # the client may have gone while it was written to
        return None
    _log.error(
        "request failed",
        method=call.method,
        request_id=call.request_id,
        error=type(error).__name__,
        frames=_frames(error),
    )
    return InternalError("an internal error; the server's log tells more")


def pushback_of(error: ServiceError) -> int | None:
    """In how many milliseconds the request may be tried again; None where that is of no use."""
    if error.pushback_ms is None and isinstance(error, REFUSALS):
        return pushback_ms(RESTART_S)
    return error.pushback_ms


def pushback_metadata(error: ServiceError) -> tuple[tuple[str, str], ...]:
    """Trailing metadata that tell the client of it (gRFC A6); none where it is of no use."""
    pushback = pushback_of(error)
    return () if pushback is None else ((PUSHBACK, str(pushback)),)


def _is_cancelled() -> bool:
    """Whether somebody cancelled this task, and not only something that it waited for: gRPC sends no status for a
    CancelledError, so that a client would wait for ever for one that nobody asked for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _frames(error: BaseException) -> list[str]:
    """Where an error came from. Its message is left out: it may quote what a client sent."""
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
