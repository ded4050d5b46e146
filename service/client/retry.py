"""Whether and when a call that failed is tried again, and what the server is told of it. It calls nothing.

A *refused* attempt did no work: nobody listens, or whoever answered asks to come back later (`grpc-retry-pushback-ms`).
A *lost* one was cut off: by the server's end, or by a proxy that lost the server. Only a call that nobody has answered
for good is tried again: statuses other than these are the server's last word.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

import grpc

from service.client.ending import REQUEST_ID, Ending
from service.client.errors import ModelNotFoundError

ATTEMPT = "x-stepstream-attempt"
MOST_LOSSES = 2
"""A request that has been lost so often in a row, without a new token, may be what the servers fail at."""
MOST_LOST_TOGETHER = 256
"""Calls of one client that may be lost at the same time and are all tried again."""

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class RetryPolicy:
    """max_attempts of one call, 1 for none but the first. The pause before the nth retry is drawn from 0 to
    initial_backoff_s * 2^(n - 1), at most max_backoff_s, in seconds, where the server asks for no other."""

    max_attempts: int = 4
    initial_backoff_s: float = 0.1
    max_backoff_s: float = 2.0

    def pause_s(self, retry: int) -> float:
        """The pause before a retry, from 1 (full jitter)."""
        return random.uniform(0.0, min(self.max_backoff_s, self.initial_backoff_s * 2 ** (retry - 1)))  # noqa: S311


RETRY = RetryPolicy()


@dataclass(frozen=True)
class Retry:
    """One call that is tried again: why, after how many seconds, how often before that, and how many tokens of its
    stream stay."""

    reason: str
    pause_s: float
    num_attempts: int
    num_tokens: int


class RetryThrottle:
    """Retries of all calls of a client, kept to a share of what succeeds (gRFC A6): a failed attempt takes one token, a
    call that succeeds gives token_ratio back, and nothing is tried again unless more than half of them are there."""

    def __init__(self, *, max_tokens: float = 10.0, token_ratio: float = 0.1) -> None:
        self._max_tokens = max_tokens
        self._token_ratio = token_ratio
        self._tokens = max_tokens
        self._lock = threading.Lock()

    def failed(self) -> bool:
        """Note a failed attempt; whether another may follow."""
        with self._lock:
            self._tokens = max(0.0, self._tokens - 1.0)
            return self._tokens > self._max_tokens / 2

    def succeeded(self) -> None:
        """Note a call that succeeded."""
        with self._lock:
            self._tokens = min(self._max_tokens, self._tokens + self._token_ratio)


class CallArguments(TypedDict):
    """What every attempt of a call is made with."""

    timeout: float | None
    metadata: Metadata


class Retries:
    """What the calls of one client have in common; threads may share it.

    Losses have a throttle of their own: a server that dies takes all its calls at once, which is no sign of overload.
    """

    def __init__(
        self, address: str, policy: RetryPolicy, on_retry: Callable[[Retry], None] | None, *, clock: Callable[[], float]
    ) -> None:
        self.address = address
        self.policy = policy
        self.on_retry = on_retry
        self.clock = clock
        self.refusals = RetryThrottle()
        self.losses = RetryThrottle(max_tokens=2.0 * MOST_LOST_TOGETHER)

    def call(self, timeout_s: float | None) -> Attempts:
        """A new call, for whose attempts and pauses there is timeout_s in all."""
        return Attempts(self, timeout_s)


def make_retries(address: str, policy: RetryPolicy, on_retry: Callable[[Retry], None] | None) -> Retries:
    """The retries of a new client."""
    return Retries(address, policy, on_retry, clock=time.monotonic)


class Attempts:
    """The attempts of one call."""

    def __init__(self, retries: Retries, timeout_s: float | None) -> None:
        self._retries = retries
        self._deadline = None if timeout_s is None else retries.clock() + timeout_s
        self._request_id = uuid.uuid4().hex
        self._number = 0
        self._losses = 0

    def arguments(self) -> CallArguments:
        """Of the next attempt: what is left of the time, and an id and a number of its own."""
        self._number += 1
        metadata = ((REQUEST_ID, f"{self._request_id}-{self._number}"), (ATTEMPT, str(self._number)))
        return {"timeout": self._remaining_s(), "metadata": metadata}

    def progressed(self) -> None:
        """The attempt under way has brought something new."""
        self._losses = 0

    def begun_again(self) -> Attempts:
        """Those of a call that begins where this one is, in what is left of its time."""
        return Attempts(self._retries, self._remaining_s())

    def succeeded(self) -> None:
        """The call is complete."""
        self._retries.refusals.succeeded()
        self._retries.losses.succeeded()

    def pause_s(self, ending: Ending, *, num_tokens: int = 0) -> float:
        """After an attempt that failed: the seconds until the next one. num_tokens of its stream are the caller's.

        Raises the StepstreamError of the ending where there is no other attempt.
        """
        error = ending.error(self._retries.address)
        is_version_gone = num_tokens > 0 and ending.code is grpc.StatusCode.NOT_FOUND
        if is_version_gone:
            error = ModelNotFoundError(
                f"the server that began the translation was lost, and no other can go on: {error}"
            )
        policy = self._retries.policy
        if ending.is_refused or is_version_gone:
            may_retry = self._retries.refusals.failed()
        elif ending.is_lost:
            self._losses += 1
            may_retry = self._retries.losses.failed() and self._losses < MOST_LOSSES
        else:
            may_retry = False
        pause_s = policy.pause_s(self._number) if ending.pushback_s is None else ending.pushback_s
        remaining_s = self._remaining_s()
        is_in_time = remaining_s is None or pause_s < remaining_s
        if not may_retry or not is_in_time or self._number >= policy.max_attempts:
            raise error
        if self._retries.on_retry is not None:
            self._retries.on_retry(Retry(str(error), pause_s, self._number, num_tokens))
        return pause_s

    def _remaining_s(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - self._retries.clock())
