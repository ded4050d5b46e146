"""What can go wrong for a caller, and the one place where gRPC statuses become these errors.

StepstreamError               each message is one line for the person who made the call
├── ServerUnreachableError    no server answers, it is stopping, or the model's engine has failed
├── ModelNotFoundError        no such model, or no such version of it
├── InvalidRequestError       no text, a text that is too long, an option out of range
├── AccessDeniedError         no valid token, or one that does not allow the call
├── CredentialsError          the client's certificates or token cannot be used
├── OverloadedError           the queue is full; the same request may succeed later
├── DeadlineError             the caller's time limit passed
├── PlotUnavailableError      what draws pictures is not installed
├── MissingFontError          no font shows some character of a text
└── ServerError               anything else that the server answers
    └── ServerProcessError    a server started as a child process did not start or did not stop as it should
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc

_CONNECT_FAILURES = ("failed to connect", "errors resolving", "DNS resolution failed")


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


class OverloadedError(StepstreamError):
    """The server's queue is full; the same request may succeed later."""


class DeadlineError(StepstreamError):
    """The time limit passed before the answer was complete."""


class PlotUnavailableError(StepstreamError):
    """What draws pictures is not installed."""


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
    match code:
        case grpc.StatusCode.UNAVAILABLE if details.startswith(_CONNECT_FAILURES):
            return ServerUnreachableError(f"no server answers at {address}")
        case grpc.StatusCode.UNAVAILABLE:
            return ServerUnreachableError(f"the server at {address} cannot serve now: {details}")
        case grpc.StatusCode.NOT_FOUND:
            return ModelNotFoundError(details or "no such model")
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.OUT_OF_RANGE:
            return InvalidRequestError(details or "the server refuses the request")
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return AccessDeniedError(details or "the server does not allow this")
        case grpc.StatusCode.RESOURCE_EXHAUSTED if "larger than max" in details:
            return InvalidRequestError(f"the message is too large: {details}")
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return OverloadedError(details or "the server is overloaded; try again later")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineError(f"the server at {address} did not finish in time")
        case grpc.StatusCode.UNIMPLEMENTED:
            return ServerError(f"what answers at {address} does not offer this service: {details}")
        case _:
            return ServerError(f"the server at {address} failed ({code.name}): {details}")
