"""How an attempt of a call ended: by a server's answer, or cut off on the way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import grpc

from service.client.errors import CONNECT_FAILURES, ServerError, StepstreamError, error_from_status

REQUEST_ID = "x-request-id"
PUSHBACK = "grpc-retry-pushback-ms"
CUT_OFF = frozenset({grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED})
"""What proxies make of a server that is lost in the middle of a call, beside UNAVAILABLE."""
CANCELLED_HERE = ("Channel closed!", "Locally cancelled")
"""How gRPC says that the caller itself ended the call."""


@dataclass(frozen=True)
class Ending:
    """is_answered: a Stepstream server ended the call, and no proxy or connection. pushback_s: seconds after which it
    wants to be asked again, None where it does not say; may_retry is False where it wants no retry."""

    code: grpc.StatusCode
    details: str
    is_answered: bool
    pushback_s: float | None = None
    may_retry: bool = True

    @property
    def is_refused(self) -> bool:
        """Whether nothing was done for the call, and another attempt may find it done."""
        if not self.may_retry:
            return False
        if self.code is grpc.StatusCode.UNAVAILABLE:
            return self.pushback_s is not None or self.details.startswith(CONNECT_FAILURES)
        return self.code is grpc.StatusCode.RESOURCE_EXHAUSTED and self.pushback_s is not None

    @property
    def is_lost(self) -> bool:
        """Whether what was done for the call has been lost with a server, a proxy or a connection."""
        if not self.may_retry or self.is_refused or self.details.startswith(CANCELLED_HERE):
            return False
        return self.code is grpc.StatusCode.UNAVAILABLE or (not self.is_answered and self.code in CUT_OFF)

    def error(self, address: str) -> StepstreamError:
        """What it means for the caller; OK is that of a stream without its completion."""
        if self.code is grpc.StatusCode.OK:
            return ServerError("the server ended the stream before it was complete")
        return error_from_status(self.code, self.details, address)


def ending_of(code: grpc.StatusCode, details: str | None, trailing_metadata: object) -> Ending:
    """From what gRPC says of an attempt."""
    trailing = dict(_pairs(trailing_metadata))
    pushback = trailing.get(PUSHBACK)
    pushback_s = int(pushback) / 1000 if isinstance(pushback, str) and pushback.isdecimal() else None
    return Ending(
        code,
        details or "",
        is_answered=REQUEST_ID in trailing,
        pushback_s=pushback_s,
        may_retry=pushback is None or pushback_s is not None,
    )


def ending_of_error(error: grpc.RpcError) -> Ending:
    """From the error that an attempt ended with."""
    if isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return ending_of(error.code(), error.details(), error.trailing_metadata())
    return ending_of(grpc.StatusCode.UNKNOWN, str(error), ())


def _pairs(metadata: object) -> Iterable[tuple[str, str | bytes]]:
    return [(key, value) for key, value in metadata] if isinstance(metadata, Iterable) else []
