"""What can go wrong for a caller, and the one place where gRPC statuses become these errors.

StepstreamError               each message is one line for the person who made the call
├── ServerUnreachableError    no server answers, it is stopping, or the model's engine has failed
├── ModelNotFoundError        no such model, or no such version of it
├── InvalidRequestError       no text, a text that is too long, an option out of range
├── AccessDeniedError         no valid token, or one that does not allow the call
├── CredentialsError          the client's certificates or token cannot be used
├── NotPossibleError          what is asked for cannot be done as things are
├── OverloadedError           the queue is full; the same request may succeed later
├── DeadlineError             the caller's time limit passed
├── PlotUnavailableError      what draws pictures is not installed
├── LoadUnavailableError      what load tests count with is not installed
├── MissingFontError          no font shows some character of a text
└── ServerError               anything else that the server answers
    └── ServerProcessError    a server started as a child process did not start or did not stop as it should
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc

CONNECT_FAILURES = (
    "failed to connect",
    "connections to all backends failing",
    "errors resolving",
    "DNS resolution failed",
)


class StepstreamError(Exception):
    """Base of this package's errors; the message is one line."""


class ServerUnreachableError(StepstreamError):
    """No server answers at the address, or the one there cannot serve now."""


class ModelNotFoundError(StepstreamError):
    """The server has no such model, or no such version of it."""


class InvalidRequestError(StepstreamError):
    """The request can never be served as it is."""


class AccessDeniedError(StepstreamError):
    """The server does not let the caller do this."""


class CredentialsError(StepstreamError):
    """The client's certificates or token cannot be used."""


class NotPossibleError(StepstreamError):
    """What is asked for cannot be done as things are on the server; the message says why."""


class OverloadedError(StepstreamError):
    """The server's queue is full; the same request may succeed later."""


class DeadlineError(StepstreamError):
    """The time limit passed before the answer was complete."""


class PlotUnavailableError(StepstreamError):
    """What draws pictures is not installed."""


class LoadUnavailableError(StepstreamError):
    """What load tests count with is not installed."""


class MissingFontError(StepstreamError):
    """No font shows some character of a text."""


class ServerError(StepstreamError):
    """The server failed, or answered what no Stepstream server answers."""


class ServerProcessError(ServerError):
    """A server started as a child process did not start or did not stop as it should."""


@contextmanager
def named_errors(address: str) -> Iterator[None]:
    """Raise every failed call inside the block as a StepstreamError."""
    try:
        yield
    except grpc.RpcError as error:
        code = error.code() if isinstance(error, grpc.Call | grpc.aio.AioRpcError) else grpc.StatusCode.UNKNOWN
        details = error.details() if isinstance(error, grpc.Call | grpc.aio.AioRpcError) else str(error)
        raise error_from_status(code, details or "", address) from None


def error_from_status(code: grpc.StatusCode, details: str, address: str) -> StepstreamError:
    """The named error for a status that the server or the connection at `address` gave."""
    details = " ".join(details.split())
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        return InvalidRequestError(f"the message is too large: {details}")
    if code in _SAID_BY_THE_SERVER:
        kind, otherwise = _SAID_BY_THE_SERVER[code]
        return kind(details or otherwise)
    match code:
        case grpc.StatusCode.UNAVAILABLE if details.startswith(CONNECT_FAILURES):
            return ServerUnreachableError(f"no server answers at {address}")
        case grpc.StatusCode.UNAVAILABLE:
            return ServerUnreachableError(f"the server at {address} cannot serve now: {details}")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineError(f"the server at {address} did not finish in time")
        case grpc.StatusCode.UNIMPLEMENTED:
            return ServerError(f"what answers at {address} does not offer this service: {details}")
        case _:
            return ServerError(f"the server at {address} failed ({code.name}): {details}")


_SAID_BY_THE_SERVER: dict[grpc.StatusCode, tuple[type[StepstreamError], str]] = {
    grpc.StatusCode.NOT_FOUND: (ModelNotFoundError, "no such model"),
    grpc.StatusCode.INVALID_ARGUMENT: (InvalidRequestError, "the server refuses the request"),
    grpc.StatusCode.OUT_OF_RANGE: (InvalidRequestError, "the server refuses the request"),
    grpc.StatusCode.UNAUTHENTICATED: (AccessDeniedError, "the server does not allow this"),
    grpc.StatusCode.PERMISSION_DENIED: (AccessDeniedError, "the server does not allow this"),
    grpc.StatusCode.FAILED_PRECONDITION: (NotPossibleError, "the server cannot do that now"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (OverloadedError, "the server is overloaded; try again later"),
}
"""Statuses whose details are for the caller, and what is said without any."""
