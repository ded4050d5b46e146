"""One line for each call: who asked what of which model, how long it took and how it ended. Never a text."""

from __future__ import annotations

import structlog

from service.calls import Call

_log = structlog.get_logger()


class AccessLog:
    """Hears of every call."""

    def call_started(self, call: Call) -> None:
        """A call is told of when all is known of it."""

    def call_ended(self, call: Call) -> None:
        assert call.ended_at is not None
        _log.info(
            "call",
            request_id=call.request_id,
            method=call.method,
            caller=call.caller,
            peer=call.peer,
            model=call.model,
            version=call.version,
            code=call.code,
            num_source_tokens=call.num_source_tokens,
            num_target_tokens=call.num_target_tokens,
            queue_ms=_ms(call, call.joined_at),
            first_token_ms=_ms(call, call.first_token_at),
            total_ms=_ms(call, call.ended_at),
        )


def _ms(call: Call, at: float | None) -> float | None:
    """Milliseconds from the call's start, if the time is known."""
    return None if at is None else round((at - call.started_at) * 1000, 3)
