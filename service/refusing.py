"""What a full server tells a call before anything is made of its message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from service.admission.gate import Gate
from service.calls import Call, Calls
from service.engine.request import Priority
from service.errors import QueueFullError, ServiceError, StoppingError
from service.request_ids import REQUEST_ID, request_id_of
from service.security.access import Access
from service.statuses import STATUS, pushback_metadata

TRANSLATING = frozenset(("Translate", "StreamTranslate", "TranslateInteractive", "Score", "ModelInfer"))
"""The methods that use a model, and are refused where it is full. ModelStreamInfer is as often as it uses one."""

Metadata = Sequence[tuple[str, str | bytes]]


@dataclass(frozen=True)
class Refusal:
    """A status, and its trailing metadata."""

    code: grpc.StatusCode
    details: str
    trailing: Metadata


class Refuser:
    """Looks at a call that has come. What it lets pass meets its handler, which tells everything else."""

    def __init__(self, calls: Calls, access: Access, gate: Gate) -> None:
        self._calls = calls
        self._access = access
        self._gate = gate

    def may_refuse(self, path: str) -> bool:
        """Whether some calls of a method are refused now."""
        return path.rpartition("/")[2] in TRANSLATING and self._gate.may_close

    def refusal(
        self, path: str, metadata: Metadata, peer: str, message: bytes | None, deserialize: Callable[[bytes], Any]
    ) -> Refusal | None:
        """Why a call is refused, which is counted then; None where it is not. Who calls is known before all else.
        message: the bytes of the only one, None where others may follow."""
        call = Call(request_id_of(metadata), path.rpartition("/")[2], peer=peer)
        try:
            call.caller = self._access.grant(path, metadata).caller
            self._gate.check(call.client, _priority(deserialize, message))
        except QueueFullError as error:
            return self._counted(call, error)
        except ServiceError:
            return None
        return None

    def _counted(self, call: Call, error: ServiceError) -> Refusal:
        try:
            with self._calls.running(call):
                pass
        except StoppingError as stopping:
            error = stopping
        code = STATUS[type(error)]
        call.code = code.name
        self._calls.ended(call)
        return Refusal(code, str(error), ((REQUEST_ID, call.request_id), *pushback_metadata(error)))


def _priority(deserialize: Callable[[bytes], Any], message: bytes | None) -> Priority:
    """What the message asks for; the highest where it cannot be told."""
    if message is None:
        return Priority.HIGH
    try:
        return Priority(deserialize(message).priority or Priority.NORMAL)
    except (DecodeError, AttributeError, ValueError):
        return Priority.HIGH
