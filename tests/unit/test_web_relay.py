"""The relay between a browser and a gRPC server, over real sockets on both sides."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from service.client.credentials import Credentials
from service.client.web import relay
from service.client.web.frames import HEADER, TRAILERS, message_frame
from service.client.web.relay import CONTENT_TYPE
from service.client.web.serving import PageServer
from service.pb import translation_pb2 as pb
from tests.faults.security.certificates import Authority
from tests.reference.page_server import page_server
from tests.reference.scripted_service import End, ScriptedService, messages, scripted_service

LIMIT_S = 60.0
STREAM = "/stepstream.v1.TranslationService/StreamTranslate"
LIST = "/stepstream.v1.TranslationService/ListModels"


@pytest.fixture
def service() -> Iterator[ScriptedService]:
    with scripted_service() as service:
        yield service


@pytest.fixture
def page(service: ScriptedService) -> Iterator[PageServer]:
    with page_server(service.address) as page:
        yield page


class Answer:
    """What comes back, frame by frame."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.response = response

    def frame(self) -> tuple[int, bytes]:
        flag, length = HEADER.unpack(self._read(HEADER.size))
        return flag, self._read(length)

    def message(self) -> pb.StreamTranslateResponse:
        flag, body = self.frame()
        assert flag == 0, body
        return pb.StreamTranslateResponse.FromString(body)

    def trailers(self) -> dict[str, str]:
        """Of the last frame, after whatever is before it."""
        flag = 0
        while flag != TRAILERS:
            flag, body = self.frame()
        assert self.response.read() == b""
        return dict(line.split(": ", 1) for line in body.decode().split("\r\n") if line)

    def _read(self, length: int) -> bytes:
        read = self.response.read(length)
        assert len(read) == length, "the answer was cut off"
        return read


@contextmanager
def asked(page: PageServer, path: str, body: bytes, *, method: str = "POST", **headers: str) -> Iterator[Answer]:
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=LIMIT_S)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, body, {"content-type": CONTENT_TYPE} | names)
        yield Answer(connection.getresponse())
    finally:
        connection.close()


def stream(page: PageServer, text: str, **headers: str) -> Any:
    request = pb.StreamTranslateRequest(model="shout", text=text)
    return asked(page, STREAM, message_frame(request.SerializeToString()), **headers)


def test_each_message_is_passed_on_before_the_next_one_is_made(page: PageServer, service: ScriptedService) -> None:
    first, second = threading.Event(), threading.Event()
    one, two, three = messages(["EIN", "HUND"])
    service.plays["a dog"].append([one, first, two, second, three])
    with stream(page, "a dog") as answer:
        assert answer.message() == one
        first.set()
        assert answer.message() == two
        second.set()
        assert answer.message() == three
        assert answer.trailers() == {"grpc-status": "0", "grpc-message": "", "x-request-id": "one"}


def test_a_single_answer_is_relayed_too(page: PageServer, service: ScriptedService) -> None:
    with asked(page, LIST, message_frame(b"")) as answer:
        flag, body = answer.frame()
        assert flag == 0
        assert [model.name for model in pb.ListModelsResponse.FromString(body).models] == ["shout", "whisper"]
        assert answer.trailers()["grpc-status"] == "0"


def test_a_browser_that_goes_away_cancels_its_call(page: PageServer, service: ScriptedService) -> None:
    service.plays["a dog"].append([messages(["EIN"])[0], threading.Event()])
    with stream(page, "a dog") as answer:
        answer.message()
        assert not service.cancelled.is_set()
    assert service.cancelled.wait(LIMIT_S)


def test_a_browser_that_goes_away_before_the_first_message_cancels_its_call(
    page: PageServer, service: ScriptedService
) -> None:
    service.plays["a dog"].append([threading.Event()])
    with stream(page, "a dog"):
        assert service.called.wait(LIMIT_S)
    assert service.cancelled.wait(LIMIT_S)


def test_a_browser_that_reads_nothing_holds_the_stream_up(page: PageServer, service: ScriptedService) -> None:
    num_messages, large = 2_000, pb.StreamTranslateResponse(step=pb.Step(piece="x" * 20_000))
    service.plays["much"].append([large] * num_messages)
    request = message_frame(pb.StreamTranslateRequest(model="shout", text="much").SerializeToString())
    with socket.socket() as browser:
        browser.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        browser.settimeout(LIMIT_S)
        browser.connect(("127.0.0.1", page.port))
        lines = [f"POST {STREAM} HTTP/1.1", f"host: 127.0.0.1:{page.port}", f"content-type: {CONTENT_TYPE}"]
        lines += ["connection: close", f"content-length: {len(request)}", "", ""]
        browser.sendall("\r\n".join(lines).encode() + request)
        num_sent = wait_until_still(service)
        assert 0 < num_sent < num_messages / 2
        received = 0
        while part := browser.recv(1 << 20):
            received += len(part)
        assert received > num_messages * 20_000
    assert service.num_sent == num_messages


def wait_until_still(service: ScriptedService) -> int:
    """How many messages were sent when none was sent any more for two seconds."""
    before, still = -1, threading.Event()
    while service.num_sent != before or before == 0:
        before = service.num_sent
        still.wait(2.0)
    return before


def test_a_stalled_browser_loses_its_call(service: ScriptedService) -> None:
    service.plays["much"].append([pb.StreamTranslateResponse(step=pb.Step(piece="x" * 20_000))] * 2_000)
    request = message_frame(pb.StreamTranslateRequest(model="shout", text="much").SerializeToString())
    with page_server(service.address, max_stall_s=0.5) as page, socket.socket() as browser:
        browser.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        browser.connect(("127.0.0.1", page.port))
        lines = [f"POST {STREAM} HTTP/1.1", f"host: 127.0.0.1:{page.port}", f"content-type: {CONTENT_TYPE}"]
        browser.sendall("\r\n".join([*lines, f"content-length: {len(request)}", "", ""]).encode() + request)
        assert service.cancelled.wait(LIMIT_S)


def test_a_refusal_arrives_with_its_pushback(page: PageServer, service: ScriptedService) -> None:
    end = End(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full: 100 % of 256", pushback_ms=750)
    service.plays["a dog"].append([end])
    with stream(page, "a dog") as answer:
        trailers = answer.trailers()
    assert answer.status == 200
    assert trailers == {
        "grpc-status": "8",
        "grpc-message": "the queue is full: 100 %25 of 256",
        "x-request-id": "one",
        "grpc-retry-pushback-ms": "750",
    }


def test_an_error_in_the_middle_follows_what_came_before(page: PageServer, service: ScriptedService) -> None:
    end = End(grpc.StatusCode.UNAVAILABLE, "the model's engine has failed")
    service.plays["a dog"].append([messages(["EIN"])[0], end])
    with stream(page, "a dog") as answer:
        answer.message()
        trailers = answer.trailers()
    assert (trailers["grpc-status"], trailers["grpc-message"]) == ("14", "the model's engine has failed")


def test_where_no_server_answers_no_address_is_told() -> None:
    with page_server("127.0.0.1:1") as page, stream(page, "a dog") as answer:
        trailers = answer.trailers()
    assert trailers == {"grpc-status": "14", "grpc-message": "the server cannot be reached, or was lost"}


def test_the_deadline_and_the_attempt_are_passed_on_and_nothing_else(
    page: PageServer, service: ScriptedService
) -> None:
    headers = {"grpc_timeout": "20S", "x_request_id": "mine-2", "x_stepstream_attempt": "2"}
    with stream(page, "a dog", authorization="Bearer stolen", cookie="a=b", **headers) as answer:
        assert answer.trailers()["grpc-status"] == "0"
    assert 0 < service.deadlines_s[0] <= 20
    metadata = service.metadata[0]
    assert (metadata["x-request-id"], metadata["x-stepstream-attempt"]) == ("mine-2", "2")
    assert not {"authorization", "cookie"} & metadata.keys()


def test_the_token_is_the_relays_and_goes_over_tls() -> None:
    authority = Authority("ours")
    credentials = Credentials(tls=True, ca=authority.certificate, token="secret")
    with (
        scripted_service(tls=authority.sign("server")) as service,
        page_server(service.address, credentials=credentials) as page,
        stream(page, "a dog", authorization="Bearer stolen") as answer,
    ):
        assert answer.trailers()["grpc-status"] == "0"
    assert service.metadata[0]["authorization"] == "Bearer secret"


def test_a_call_without_a_deadline_gets_one(page: PageServer, service: ScriptedService) -> None:
    with stream(page, "a dog") as answer:
        answer.trailers()
    assert 0 < service.deadlines_s[0] <= relay.MAX_CALL_S


@pytest.mark.parametrize("method", ["Translate", "Score", "GetModel", "TranslateInteractive"])
def test_what_the_page_does_not_need_is_not_relayed(page: PageServer, method: str) -> None:
    with asked(page, f"/stepstream.v1.TranslationService/{method}", message_frame(b"")) as answer:
        assert answer.status == 405


def test_a_message_that_is_too_large_is_refused_unread(page: PageServer, service: ScriptedService) -> None:
    with stream(page, "x" * (relay.MAX_REQUEST_BYTES + 1)) as answer:
        trailers = answer.trailers()
    assert trailers["grpc-status"] == "8"
    assert service.requests == []


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 400),
        (message_frame(b"x")[:-1], {}, 400),
        (message_frame(b""), {"grpc-timeout": "soon"}, 400),
        (message_frame(b""), {"x-request-id": "x" * 129}, 400),
        (message_frame(b""), {"content-type": "text/plain"}, 415),
        (message_frame(b""), {"origin": "https://example.org"}, 403),
        (message_frame(b""), {"origin": "null"}, 403),
        (message_frame(b""), {"origin": "http://["}, 403),
        (message_frame(b""), {"host": "example.org"}, 421),
    ],
)
def test_what_no_page_of_this_server_sends_is_refused(
    page: PageServer, service: ScriptedService, body: bytes, headers: dict[str, str], status: int
) -> None:
    with asked(page, STREAM, body, **headers) as answer:
        assert answer.status == status
    assert service.requests == []
