"""One line of JSON for each event, whatever a client sends; no line has a client's text."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamEnded

from service.pb import translation_pb2 as pb
from service.translator import Translator
from tests.faults.http2 import grpc_message
from tests.faults.security.answers import MODEL, SERVICE, ask
from tests.faults.security.certificates import Authority
from tests.faults.security.servers import started

TIMEOUT_S = 60.0
FORGED = '{"event": "forged", "level": "info"}'
MARK = "zzsecretzz"
INJECTIONS = {
    "line feed": f"{MARK}\n{FORGED}\n",
    "carriage return": f"{MARK}\r{FORGED}\r\n",
    "terminal colours": f"{MARK}\x1b[2K\x1b[1A\x1b]0;title\x07",
    "line separators": f"{MARK}\u2028{FORGED}\u2029{FORGED}\x85{FORGED}",
    "nul": f"{MARK}\0{FORGED}",
    "quotes": f'{MARK}", "event": "forged", "x": "',
}

RAW_HEADERS = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/stepstream.v1.TranslationService/GetModel"),
    (b":authority", b"localhost"),
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
)


def plain_line_breaks(content: bytes) -> bytes:
    """What could end a line, or move a terminal's cursor, besides the line feed at the end of each record."""
    return bytes(byte for byte in content if (byte < 0x20 and byte != 0x0A) or byte > 0x7E)


def test_nothing_that_is_sent_makes_a_line_of_the_log(serve: tuple[str, ...], tmp_path: Path) -> None:
    """The log of a server that got every injection in text, name, metadata and id has its own events alone."""
    with started(serve, tmp_path / "log") as server, grpc.insecure_channel(server.address) as channel:
        before = server.records()
        for text in INJECTIONS.values():
            options = pb.DecodingOptions(target_prefix=text, suppress_tokens=[text])
            ask(channel, "StreamTranslate", pb.StreamTranslateRequest(model=MODEL, text=text))
            ask(channel, "StreamTranslate", pb.StreamTranslateRequest(model=MODEL, text=text, options=options))
            ask(channel, "GetModel", pb.GetModelRequest(model=text))
            ask(channel, "Translate", text.encode())
            visible = "".join(character for character in text if 0x20 <= ord(character) <= 0x7E)
            for key in ("x-request-id", "x-other", "authorization"):
                ask(channel, "GetModel", metadata=[(key, visible)])
            ask(channel, "GetModel", metadata=[("x-other-bin", text.encode())])  # type: ignore[list-item]
        content = server.log.read_bytes()
        assert len(server.records()) == content.count(b"\n") >= len(before)
    assert {"forged"}.isdisjoint(json.loads(line)["event"] for line in content.splitlines())
    assert plain_line_breaks(content) == b""
    assert MARK.encode() not in content


def test_metadata_that_is_no_text_makes_no_line_of_the_log(serve: tuple[str, ...], tmp_path: Path) -> None:
    """gRPC would write two for each value, an error with a traceback, and the bytes as they came."""
    message = pb.GetModelRequest(model=MODEL).SerializeToString()
    with started(serve, tmp_path / "log") as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S) as connection:
            h2 = H2Connection(H2Configuration(header_encoding=None, validate_outbound_headers=False))
            h2.initiate_connection()
            for stream_id in (1, 3, 5):
                h2.send_headers(stream_id, [*RAW_HEADERS, (b"authorization", f"Bearer {MARK}".encode() + b"\xff")])
                h2.send_data(stream_id, grpc_message(message), end_stream=True)
            connection.sendall(h2.data_to_send())
            num_ended = 0
            while num_ended < 3:
                num_ended += sum(isinstance(one, StreamEnded) for one in h2.receive_data(connection.recv(2**16)))
        assert MARK.encode() not in server.log.read_bytes()
        assert {record["level"] for record in server.records()} == {"info"}


def test_no_handshake_that_fails_makes_a_line_of_the_log(serve: tuple[str, ...], tmp_path: Path) -> None:
    """gRPC's core would write one, which is no JSON, for each connection that does not speak TLS."""
    certificate, key = Authority("ours").sign("server").save(tmp_path, "server")
    with started((*serve, "--tls-certificate", str(certificate), "--tls-key", str(key)), tmp_path / "log") as server:
        for _ in range(10):
            with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
                with suppress(ConnectionError):
                    connection.recv(1)
        assert {record["event"] for record in server.records()} <= {"model loaded", "model management"}


ONE_RECORD = """
import sys
import structlog
from service.observability.log import configure_log
sink = configure_log()
text = bytes.fromhex(sys.argv[1]).decode()
try:
    raise ValueError(text)
except ValueError:
    structlog.get_logger().exception("it failed", value=text, values=[text])
sink.close(timeout_s=10)
"""


@pytest.mark.parametrize("kind", INJECTIONS)
def test_a_record_is_one_line_whatever_is_in_it(
    kind: str,
) -> None:
    """A value, a key's value in a list, and an error's message are escaped; the record reads back as it was."""
    text = INJECTIONS[kind]
    done = subprocess.run([sys.executable, "-c", ONE_RECORD, text.encode().hex()], capture_output=True, check=True)
    (line, rest) = done.stderr.decode().split("\n")
    record = json.loads(line)
    assert rest == ""
    assert plain_line_breaks(line.encode()) == b""
    assert (record["value"], record["values"], record["event"]) == (text, [text], "it failed")


async def test_an_error_that_quotes_a_text_is_logged_without_it(
    inside: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log names the error and where it came from, and has no word of the text."""

    async def fail(_: Any, text: str, *_options: Any) -> None:
        raise ValueError(text)

    monkeypatch.setattr(Translator, "read", fail)
    async with grpc.aio.insecure_channel(inside) as channel:
        request = pb.StreamTranslateRequest(model=MODEL, text=f"{MARK}\n{FORGED}").SerializeToString()
        call = channel.unary_stream(f"{SERVICE}StreamTranslate")(request, timeout=60)
        assert await call.code() is grpc.StatusCode.INTERNAL
        assert MARK not in await call.details()
    logged = "".join(capsys.readouterr())
    assert "ValueError" in logged
    assert MARK not in logged
