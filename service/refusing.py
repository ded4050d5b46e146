"""What a call is told of which nothing is made: by a full server, or because it has no message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from service.admission.gate import Gate
from service.calls import Call, Calls
from service.engine.request import Priority
from service.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    QueueFullError,
    ServiceError,
    StoppingError,
)
from service.request_ids import REQUEST_ID, request_id_of
from service.security.access import Access
from service.statuses import STATUS, pushback_metadata

TRANSLATING = frozenset(("Translate", "StreamTranslate", "TranslateInteractive", "Score", "ModelInfer"))
"""The methods that use a model, and are refused where it is full. ModelStreamInfer is as often as it uses one."""

HEALTH = "/grpc.health."
"""How the methods begin that are open to everybody, keep their own statuses and are not counted."""

Metadata = Sequence[tuple[str, str | bytes]]


@dataclass(frozen=True)
class Refusal:
    """What a call is told: a status, and its trailing metadata."""

    call: Call
    error: ServiceError

    @property
    def code(self) -> grpc.StatusCode:
        return STATUS[type(self.error)]

    @property
    def details(self) -> str:
        return str(self.error)

    @property
    def trailing(self) -> Metadata:
        return ((REQUEST_ID, self.call.request_id), *pushback_metadata(self.error))


class Refuser:
    """Looks at a call that has come. What it lets pass meets its handler, which tells everything else."""

    def __init__(self, calls: Calls, access: Access, gate: Gate | None = None, max_call_s: float | None = None) -> None:
        """Without a gate nobody is refused; max_call_s: seconds until the only message of a call must be there."""
        self._calls = calls
        self._access = access
        self._gate = gate
        self.max_call_s = max_call_s

    def may_refuse(self, path: str) -> bool:
        """Whether some calls of a method are refused now."""
        return self._gate is not None and path.rpartition("/")[2] in TRANSLATING and self._gate.may_close

    def refusal(
        self, path: str, metadata: Metadata, peer: str, message: bytes | None, deserialize: Callable[[bytes], Any]
    ) -> Refusal | None:
        """Why a call is refused, which is counted then; None where it is not. Who calls is known before all else.
        message: the bytes of the only one, None where others may follow."""
        call, gate = _call(path, metadata, peer), self._gate
        assert gate is not None
        try:
            call.caller = self._access.grant(path, metadata).caller
            gate.check(call.client, _priority(deserialize, message))
        except QueueFullError as error:
            return self.counted(Refusal(call, error))
        except ServiceError:
            return None
        return None

    def unread(self, path: str, metadata: Metadata, *, is_late: bool) -> Refusal:
        """What a call is told that has ended without its message, or is_late with it. It is not counted: the client may
        have gone."""
        call = _call(path, metadata)
        try:
            if not path.startswith(HEALTH):
                call.caller = self._access.grant(path, metadata).caller
        except ServiceError as error:
            return Refusal(call, error)
        if is_late:
            return Refusal(call, DeadlineExceededError("the deadline passed before the message was there"))
        return Refusal(call, InvalidRequestError("the call ended without a whole message"))

    def counted(self, refusal: Refusal) -> Refusal:
        """A refused call as every other one that began and ended."""
        call, error = refusal.call, refusal.error
        try:
            with self._calls.running(call):
                pass
        except StoppingError as stopping:
            error = stopping
        call.code = STATUS[type(error)].name
        self._calls.ended(call)
        return Refusal(call, error)


def _call(path: str, metadata: Metadata, peer: str = "") -> Call:
    return Call(request_id_of(metadata), path.rpartition("/")[2], peer=peer)


def _priority(deserialize: Callable[[bytes], Any], message: bytes | None) -> Priority:
    """What the message asks for; the highest where it cannot be told."""
    if message is None:
        return Priority.HIGH
    try:
        return Priority(deserialize(message).priority or Priority.NORMAL)
    except (DecodeError, AttributeError, ValueError):
        return Priority.HIGH
