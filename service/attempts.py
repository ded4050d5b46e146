"""A request that takes down whatever serves it must not be tried on one server after the other: clients say how often
they have tried, and a server refuses what has been tried too often. It knows no gRPC."""

from __future__ import annotations

from collections.abc import Iterable

from service.errors import AttemptsExhaustedError

ATTEMPT = "x-stepstream-attempt"
"""Metadata with the number of an attempt, from 1; grpc's own `grpc-previous-rpc-attempts` cannot be set by a caller."""
MAX_ATTEMPTS = 4


def refuse_after(max_attempts: int, metadata: Iterable[tuple[str, str | bytes]]) -> None:
    """Raises AttemptsExhaustedError for a request that has been tried max_attempts times before. A number that is none
    counts as the first attempt."""
    for key, value in metadata:
        if key == ATTEMPT and isinstance(value, str) and value.isdecimal() and len(value) < 10:
            if int(value) > max_attempts:
                raise AttemptsExhaustedError(
                    "the request has been tried {number} times; it may be what makes servers fail", number=max_attempts
                )
            return
