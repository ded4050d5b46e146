"""What the calls of one version came to since it was loaded, in plain numbers. It knows no gRPC."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from service.calls import Call

OK = "OK"


@dataclass
class Total:
    """How often something was, and how many seconds it took together."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.seconds += seconds


@dataclass
class CallTotals:
    """Whole calls by how they ended; of those that succeeded, where their time went: until the first sequence had a
    slot, from there until its source was encoded, until the last token was made, until the last message was sent."""

    succeeded: Total = field(default_factory=Total)
    failed: Total = field(default_factory=Total)
    queue: Total = field(default_factory=Total)
    encode: Total = field(default_factory=Total)
    decode: Total = field(default_factory=Total)
    send: Total = field(default_factory=Total)
    last_ended_ms: int = 0
    """When the last one ended, in milliseconds since 1970."""

    def add(self, call: Call) -> None:
        """A call has ended."""
        assert call.ended_at is not None
        self.last_ended_ms = time.time_ns() // 1_000_000
        if call.code != OK:
            self.failed.add(call.ended_at - call.started_at)
            return
        self.succeeded.add(call.ended_at - call.started_at)
        if call.joined_at is None or call.encoded_at is None or call.last_token_at is None:
            return
        self.queue.add(call.joined_at - call.started_at)
        self.encode.add(call.encoded_at - call.joined_at)
        self.decode.add(call.last_token_at - call.encoded_at)
        self.send.add(call.ended_at - call.last_token_at)
