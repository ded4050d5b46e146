"""Logs cannot be forged, tell nobody's text, and are waited for by nobody."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import grpc
import grpc.aio
import numpy as np
import pytest
from onnx import TensorProto, helper, save

from service.client.client import AsyncClient, Client
from service.client.errors import StepstreamError
from service.model.session import Session
from service.observability.log_sink import MAX_LINES
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceStub
from tests.faults.commands import MODEL, SENTENCE
from tests.faults.watched import ROOT, copy_model, total, wait_until, watched_server

FORGERIES = [
    'x\n{"event": "call", "code": "OK"}',
    'x\r\n{"event": "call"}',
    "\x1b[2J\x1b[31mroot logged in",
    "a\u2028b\u2029c\u0085d",
    "nul\x00nul",
    '"}, {"event": "call',
    "secret-" * 20,
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_model(tmp_path_factory.mktemp("store"))


def test_whatever_a_client_sends_every_line_of_the_log_is_one_event_and_holds_no_text(store: Path) -> None:
    """Newlines, escapes and JSON in texts, model names and request ids: one line for each call, without any of it."""
    num_calls = 0
    with watched_server(store) as server, grpc.insecure_channel(server.address) as channel:
        stub = TranslationServiceStub(channel)
        for forgery in FORGERIES:
            request_id = "".join(character for character in forgery if " " <= character <= "~")
            for model in (MODEL, forgery):
                request = pb.TranslateRequest(model=model, texts=[forgery])
                num_calls += 1
                call = stub.Translate.future(request, metadata=(("x-request-id", request_id),))
                assert call.code() in (grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
        wait_until(lambda: len(server.calls()) >= num_calls)
        assert len(server.calls()) == num_calls
        for line in server.lines():
            assert isinstance(json.loads(line), dict)
            assert line.isprintable()
            for forgery in FORGERIES:
                assert forgery not in line
                assert json.dumps(forgery)[1:-1] not in line


def test_the_line_of_a_call_tells_who_asked_what_how_long_it_took_and_how_it_ended(store: Path) -> None:
    """A stream and a refused request: their ids, sizes, times and statuses are in the log."""
    with watched_server(store) as server, grpc.insecure_channel(server.address) as channel:
        stub = TranslationServiceStub(channel)
        request = pb.StreamTranslateRequest(model=MODEL, text=SENTENCE)
        *_, last = stub.StreamTranslate(request, metadata=(("x-request-id", "mine"),))
        with pytest.raises(grpc.RpcError):
            stub.Translate(pb.TranslateRequest(model="unknown", texts=["x"]))
        wait_until(lambda: len(server.calls()) >= 2)
        stream, refused = server.calls()
    assert (stream["request_id"], stream["method"], stream["code"]) == ("mine", "StreamTranslate", "OK")
    assert (stream["model"], stream["version"]) == (MODEL, 1)
    assert stream["num_source_tokens"] == last.completion.num_source_tokens
    assert stream["num_target_tokens"] == last.completion.num_target_tokens
    assert 0 <= stream["queue_ms"] <= stream["first_token_ms"] <= stream["total_ms"] < 60_000
    assert stream["peer"].startswith("ipv4:127.0.0.1:")
    assert (refused["code"], refused["model"], refused["queue_ms"]) == ("NOT_FOUND", "", None)


@pytest.mark.fault(52)
def test_a_deadline_that_ends_while_the_status_is_sent_is_no_error_of_the_server(store: Path) -> None:
    """Hundreds of calls of a few milliseconds, whose end meets every moment of the server's: all lines are `info`."""
    request = pb.TranslateRequest(model=MODEL, texts=[SENTENCE])
    with watched_server(store) as server, grpc.insecure_channel(server.address) as channel:
        stub = TranslationServiceStub(channel)
        codes = {stub.Translate.future(request, timeout=0.001 + 0.00005 * number).code() for number in range(400)}
        assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED}
        assert grpc.StatusCode.DEADLINE_EXCEEDED in codes
        stub.Translate(request, metadata=(("x-request-id", "last"),))
        wait_until(lambda: any(call["request_id"] == "last" for call in server.calls()))
        events = [json.loads(line) for line in server.lines()]
    assert {event["level"] for event in events} == {"info"}


def test_a_graph_that_fails_writes_nothing_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """onnxruntime would write a line, which is no JSON and has the name of the node as it is."""
    node = helper.make_node("ConstantOfShape", ["shape"], ["zeros"], name=FORGERIES[0])
    shape = helper.make_tensor_value_info("shape", TensorProto.INT64, [1])
    zeros = helper.make_tensor_value_info("zeros", TensorProto.FLOAT, [None])
    graph = helper.make_graph([node], "graph", [shape], [zeros])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "graph.onnx")
    session = Session(tmp_path / "graph.onnx", num_threads=1)
    with pytest.raises(Exception, match="allocate memory"):
        session.run({"shape": np.array([2**44])})
    assert capfd.readouterr().err == ""


def test_no_line_is_written_where_none_is_wanted(store: Path) -> None:
    """`--no-access-log`: calls leave no trace in the log."""
    with watched_server(store, "--no-access-log") as server, Client(server.address) as client:
        client.translate([SENTENCE], model=MODEL)
        assert server.calls() == []


async def serve_many(address: str, num_calls: int) -> None:
    """All of them, and translations among them, are answered."""
    async with AsyncClient(address) as client:
        expected = await client.translate([SENTENCE], model=MODEL)

        async def ask_often(number: int) -> None:
            for _ in range(number):
                assert await client.list_models(timeout_s=120)
            assert await client.translate([SENTENCE], model=MODEL, timeout_s=120) == expected

        await asyncio.gather(*(ask_often(num_calls // 50) for _ in range(50)))


@pytest.mark.fault(63)
def test_a_log_that_nobody_reads_stops_no_call_and_is_counted(store: Path) -> None:
    """stderr is a pipe that nobody reads: thousands of calls are served, what the pipe and the queue cannot hold is
    counted, and the server still ends in time with 0."""
    with watched_server(store, stderr=subprocess.PIPE) as server:
        asyncio.run(serve_many(server.address, MAX_LINES + 2000))
        assert total(server.metrics(), "stepstream_log_lines_dropped_total") > 0


@pytest.mark.fault(44, 63)
def test_a_log_on_a_full_disk_stops_no_call_and_is_counted(store: Path) -> None:
    """Every write to stderr fails with "no space left": calls are served and the lost lines are counted."""
    with Path("/dev/full").open("w") as full, watched_server(store, stderr=full) as server:
        asyncio.run(serve_many(server.address, 200))
        wait_until(lambda: total(server.metrics(), "stepstream_log_lines_dropped_total") >= 250)


LOUD = """
import logging, os, sys, warnings
from service.observability.log import configure_log
sink = configure_log()
for number in range(20_000):
    logging.getLogger("library").error("line %d", number)
warnings.warn("a warning")
for _ in range(100):
    try:
        os.write(2, b"x" * 65536)
    except BlockingIOError:
        pass
print(sink.num_dropped, flush=True)
sink.close(timeout_s=0.5)
"""


@pytest.mark.fault(63)
def test_no_library_waits_for_a_log_that_nobody_reads() -> None:
    """Lines of `logging`, warnings and raw writes to stderr, as C libraries do: none of them blocks on the pipe."""
    with subprocess.Popen(
        (sys.executable, "-c", LOUD), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.wait(60) == 0
        assert process.stdout is not None
        assert int(process.stdout.read()) > 20_000 - MAX_LINES - 65536


def test_the_last_lines_are_written_before_the_process_ends() -> None:
    """A process that logs and ends at once: its lines are all there, in their order."""
    script = "import structlog; from service.observability.log import configure_log; sink = configure_log()\n"
    script += "for n in range(1000): structlog.get_logger().info('line', n=n)\nsink.close(timeout_s=30)"
    done = subprocess.run((sys.executable, "-c", script), capture_output=True, text=True, check=True, cwd=ROOT)
    assert [json.loads(line)["n"] for line in done.stderr.splitlines()] == list(range(1000))


def test_errors_of_libraries_are_events_of_one_line_too() -> None:
    """An exception that asyncio or gRPC logs, whose traceback has many lines, is one line of JSON."""
    script = """
import logging
from service.observability.log import configure_log
sink = configure_log()
try:
    raise ValueError("one\\ntwo")
except ValueError:
    logging.getLogger("asyncio").exception("task failed")
sink.close(timeout_s=30)
"""
    done = subprocess.run((sys.executable, "-c", script), capture_output=True, text=True, check=True, cwd=ROOT)
    (line,) = done.stderr.splitlines()
    event = json.loads(line)
    assert (event["event"], event["level"]) == ("task failed", "error")
    assert "ValueError" in event["exception"]


def test_a_refused_start_is_still_one_line_for_the_operator(tmp_path: Path) -> None:
    """No model to serve: the reason is on stderr although the log has a thread of its own."""
    with pytest.raises((AssertionError, StepstreamError)) as raised, watched_server(tmp_path):
        pass
    assert "no model" in str(raised.value)
