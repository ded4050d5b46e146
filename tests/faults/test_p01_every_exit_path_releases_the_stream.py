"""Promise 1: however a call ends, its stream is counted as closed, with the right reason, and its rows are free."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from h2.events import DataReceived, ResponseReceived
from prometheus_client.parser import text_string_to_metric_families

from service.client.server_process import ServerProcess
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceStub
from service.web import METRICS_S
from tests.balance import balance_of, read_metrics, require_balance
from tests.faults.commands import MODEL, SENTENCE, long_request, short_request, until
from tests.faults.http2 import Connection

LIMIT_S = 60.0
UNARY, STREAMING, INTERACTIVE = METHODS = ("Translate", "StreamTranslate", "TranslateInteractive")


class Caller:
    """Makes a call of one of three kinds, and knows when it has begun."""

    def __init__(self, method: str, server: ServerProcess) -> None:
        self.method = method
        self.server = server

    def message(self, request: pb.StreamTranslateRequest) -> Any:
        """The first message that asks for the same in this method."""
        if self.method == UNARY:
            return pb.TranslateRequest(
                model=request.model, texts=[request.text], version=request.version, options=request.options
            )
        return request if self.method == STREAMING else pb.TranslateInteractiveRequest(start=request)

    def call(self, channel: grpc.Channel, request: pb.StreamTranslateRequest, *, timeout_s: float = LIMIT_S) -> Any:
        stub = TranslationServiceStub(channel)
        message = self.message(request)
        if self.method == UNARY:
            return stub.Translate.future(message, timeout=timeout_s)
        if self.method == STREAMING:
            return stub.StreamTranslate(message, timeout=timeout_s)
        return stub.TranslateInteractive(iter([message]), timeout=timeout_s)

    def begun(self, channel: grpc.Channel) -> Any:
        """A long call whose translation has a row."""
        call = self.call(channel, long_request())
        self.wait_for_a_row()
        return call

    def wait_for_a_row(self) -> None:
        until(lambda: balance_of(read_metrics(self.server)).slots == 1)

    def code(self, call: Any) -> grpc.StatusCode:
        """That the call ends with."""
        try:
            if self.method == UNARY:
                call.result()
            else:
                list(call)
        except (grpc.RpcError, grpc.FutureCancelledError):
            pass
        code: grpc.StatusCode = call.code()
        return code


@pytest.fixture(params=METHODS)
def caller(request: pytest.FixtureRequest, slow_server: ServerProcess) -> Caller:
    return Caller(request.param, slow_server)


@pytest.fixture
def channel(slow_server: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(slow_server.address) as channel:
        yield channel


@pytest.fixture
def closed(slow_server: ServerProcess) -> Callable[[], dict[str, int]]:
    """Streams closed since the test began, by reason, once the books are even."""

    def reasons() -> dict[str, int]:
        families = text_string_to_metric_families(read_metrics(slow_server))
        samples = [sample for family in families for sample in family.samples]
        name = "stepstream_streams_closed_total"
        return {sample.labels["reason"]: int(sample.value) for sample in samples if sample.name == name}

    before = reasons()

    def since() -> dict[str, int]:
        time.sleep(2 * METRICS_S)
        require_balance(lambda: read_metrics(slow_server), timeout_s=LIMIT_S)
        return {reason: n - before.get(reason, 0) for reason, n in reasons().items() if n != before.get(reason, 0)}

    return since


def test_a_call_that_succeeds(caller: Caller, channel: grpc.Channel, closed: Callable[[], dict[str, int]]) -> None:
    assert caller.code(caller.call(channel, short_request())) is grpc.StatusCode.OK
    assert closed() == {"ok": 1}


@pytest.mark.fault(51)
def test_a_call_that_its_client_cancels(
    caller: Caller, channel: grpc.Channel, closed: Callable[[], dict[str, int]]
) -> None:
    """A client cancels in the middle: the row is free and the stream is closed as cancelled."""
    call = caller.begun(channel)
    call.cancel()
    assert caller.code(call) is grpc.StatusCode.CANCELLED
    assert closed() == {"cancelled": 1}


@pytest.mark.fault(52)
def test_a_call_whose_deadline_passes(
    caller: Caller, channel: grpc.Channel, closed: Callable[[], dict[str, int]]
) -> None:
    """The deadline passes in the middle: DEADLINE_EXCEEDED for the client, and the row is free."""
    call = caller.call(channel, long_request(), timeout_s=1.0)
    assert caller.code(call) is grpc.StatusCode.DEADLINE_EXCEEDED
    [(reason, number)] = closed().items()
    assert number == 1
    assert reason in ("deadline_exceeded", "cancelled")  # whoever's clock was first


def test_a_call_that_is_refused(caller: Caller, channel: grpc.Channel, closed: Callable[[], dict[str, int]]) -> None:
    request = short_request()
    request.version = 77
    assert caller.code(caller.call(channel, request)) is grpc.StatusCode.NOT_FOUND
    assert closed() == {"not_found": 1}


def test_an_interactive_call_that_breaks_the_rules_in_the_middle(
    slow_server: ServerProcess, channel: grpc.Channel, closed: Callable[[], dict[str, int]]
) -> None:
    start = pb.TranslateInteractiveRequest(start=long_request())
    call = TranslationServiceStub(channel).TranslateInteractive(iter([start, start]), timeout=LIMIT_S)
    assert Caller(INTERACTIVE, slow_server).code(call) is grpc.StatusCode.INVALID_ARGUMENT
    assert closed() == {"invalid_argument": 1}


@pytest.mark.fault(51)
def test_a_call_that_is_reset(caller: Caller, closed: Callable[[], dict[str, int]]) -> None:
    """RST_STREAM in the middle: the row is free and the stream is closed as cancelled."""
    with Connection(caller.server.address) as peer:
        stream_id = peer.call(caller.method, caller.message(long_request()).SerializeToString())
        caller.wait_for_a_row()
        if caller.method != UNARY:
            assert peer.read_until(ResponseReceived, DataReceived)
        peer.reset(stream_id)
        assert closed() == {"cancelled": 1}


@pytest.mark.fault(53)
def test_a_call_whose_client_is_killed(caller: Caller, closed: Callable[[], dict[str, int]]) -> None:
    """The client's process dies in the middle: the row is free and the stream is closed as cancelled."""
    code = (
        "import sys, grpc\n"
        "from service.pb import translation_pb2 as pb\n"
        f"channel = grpc.insecure_channel({caller.server.address!r})\n"
        f"path = '/stepstream.v1.TranslationService/{caller.method}'\n"
        f"message = {caller.message(long_request()).SerializeToString()!r}\n"
        "print(list(channel.stream_stream(path)(iter([message]))))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL) as client:
        caller.wait_for_a_row()
        client.kill()
    assert closed() == {"cancelled": 1}


@pytest.mark.fault(51)
def test_a_call_whose_channel_is_closed(caller: Caller, closed: Callable[[], dict[str, int]]) -> None:
    """The client closes its connection in the middle: the row is free and the stream is closed as cancelled."""
    with grpc.insecure_channel(caller.server.address) as channel:
        caller.begun(channel)
    assert closed() == {"cancelled": 1}


def test_what_is_still_held_is_found(slow_server: ServerProcess, channel: grpc.Channel) -> None:
    request = pb.StreamTranslateRequest(model=MODEL, text=SENTENCE, options=long_request().options)
    call = TranslationServiceStub(channel).StreamTranslate(request)
    next(call)
    time.sleep(2 * METRICS_S)
    with pytest.raises(
        AssertionError, match=r"still holds Balance\(opened=\d+, closed=\d+, slots=1, queued=0, promised=1\)"
    ):
        require_balance(lambda: read_metrics(slow_server), timeout_s=0.5)
    call.cancel()
