"""What a full server tells a call before its handler sees it."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from service.admission.admission import Admission, AdmissionLimits
from service.admission.gate import Gate
from service.admission.ticket import Claim, Size, Ticket
from service.calls import Call, Calls
from service.engine.row_limit import RowLimit
from service.pb import translation_pb2 as pb
from service.refusing import Refuser
from service.security.access import Access
from service.security.files import WatchedFiles
from service.security.tokens import read_tokens

PATH = "/stepstream.v1.TranslationService/StreamTranslate"
PEER = "ipv4:10.0.0.1:4000"
ID = ("x-request-id", "mine")
MESSAGE = pb.StreamTranslateRequest(text="A dog runs.").SerializeToString()
URGENT = pb.StreamTranslateRequest(text="A dog runs.", priority=pb.PRIORITY_HIGH).SerializeToString()
parse = pb.StreamTranslateRequest.FromString


class Observer:
    def __init__(self) -> None:
        self.num_started = 0
        self.ended: list[Call] = []

    def call_started(self, call: Call) -> None:
        self.num_started += 1

    def call_ended(self, call: Call) -> None:
        self.ended.append(call)


@pytest.fixture
def observer() -> Observer:
    return Observer()


@pytest.fixture
async def calls(observer: Observer) -> Calls:
    return Calls([observer])


@pytest.fixture
def admission() -> Admission:
    """One row, and a queue of one."""
    return Admission(AdmissionLimits(1, 1000, 600.0, 1.0), [RowLimit(1)])


@pytest.fixture
def refuser(calls: Calls, admission: Admission) -> Refuser:
    return Refuser(calls, Access(), Gate(lambda: [admission]))


def admit(admission: Admission, number: int) -> list[Ticket]:
    tickets = [admission.arrive(Claim("us")) for _ in range(number)]
    for ticket in tickets:
        ticket.admit([Size(rows=1, tokens=10)])
    return tickets


async def test_only_a_server_without_a_free_row_looks_at_a_call(refuser: Refuser, admission: Admission) -> None:
    assert not refuser.may_refuse(PATH)
    tickets = admit(admission, 1)
    assert refuser.may_refuse(PATH)
    assert not refuser.may_refuse("/stepstream.v1.TranslationService/ListModels")
    assert refuser.refusal(PATH, [ID], PEER, MESSAGE, parse) is None
    for ticket in tickets:
        ticket.__exit__(None, None, None)


async def test_a_refused_call_is_counted_once_and_told_when_to_come_back(
    refuser: Refuser, admission: Admission, observer: Observer
) -> None:
    tickets = admit(admission, 2)
    refusal = refuser.refusal(PATH, [ID], PEER, MESSAGE, parse)
    assert refusal is not None
    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    trailing = dict(refusal.trailing)
    assert trailing["x-request-id"] == "mine"
    assert int(trailing["grpc-retry-pushback-ms"]) > 0
    assert observer.num_started == 1
    [call] = observer.ended
    assert (call.code, call.method, call.client) == ("RESOURCE_EXHAUSTED", "StreamTranslate", "ipv4:10.0.0.1")
    for ticket in tickets:
        ticket.__exit__(None, None, None)
    assert refuser.refusal(PATH, [ID], PEER, MESSAGE, parse) is None
    assert observer.num_started == 1


@pytest.mark.parametrize("message", [URGENT, None, b"\xff"])
async def test_what_may_displace_another_is_left_to_the_handler(
    refuser: Refuser, admission: Admission, message: bytes | None
) -> None:
    """A higher priority, and what may have one."""
    tickets = admit(admission, 2)
    assert refuser.refusal(PATH, [ID], PEER, message, parse) is None
    for ticket in tickets:
        ticket.__exit__(None, None, None)


async def test_a_server_that_stops_says_so(refuser: Refuser, admission: Admission, calls: Calls) -> None:
    tickets = admit(admission, 2)
    await calls.stop(timeout_s=0.0)
    refusal = refuser.refusal(PATH, [], PEER, MESSAGE, parse)
    assert refusal is not None
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
    for ticket in tickets:
        ticket.__exit__(None, None, None)


async def test_who_may_not_call_is_left_to_the_handler(
    calls: Calls, admission: Admission, observer: Observer, tmp_path: Path
) -> None:
    """Nobody learns without a token how full the server is."""
    path = tmp_path / "tokens.json"
    path.write_text('{"tokens": []}', encoding="utf-8")
    access = Access(WatchedFiles([path], lambda: read_tokens(path)))
    refuser = Refuser(calls, access, Gate(lambda: [admission]))
    tickets = admit(admission, 2)
    assert refuser.refusal(PATH, [("authorization", "Bearer none")], PEER, MESSAGE, parse) is None
    assert observer.num_started == 0
    for ticket in tickets:
        ticket.__exit__(None, None, None)
