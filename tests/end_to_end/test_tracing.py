"""Traces of calls, as a collector receives them over OTLP/HTTP."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.client.client import AsyncClient, Client
from service.pb import inference_pb2
from service.pb import translation_pb2 as pb
from service.pb.inference_pb2_grpc import GRPCInferenceServiceStub
from service.pb.translation_pb2_grpc import TranslationServiceStub
from tests.faults.commands import MODEL, SENTENCE
from tests.faults.watched import copy_model, total, wait_until, watched_server

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SERVICE = "/stepstream.v1.TranslationService"


class Collector:
    """Takes spans, or takes the bytes and never answers."""

    def __init__(self, *, stalled: bool = False) -> None:
        self.spans: list[Span] = []
        self.resources: list[dict[str, str]] = []
        self._let_go = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler) -> None:  # noqa: N805
                body = handler.rfile.read(int(handler.headers["Content-Length"]))
                if stalled:
                    self._let_go.wait(120)
                    return
                assert handler.path == "/v1/traces"
                self._take(ExportTraceServiceRequest.FromString(body))
                handler.send_response(200)
                handler.send_header("Content-Length", "0")
                handler.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}/v1/traces"

    def _take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            self.resources.append({pair.key: pair.value.string_value for pair in resource.resource.attributes})
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            self._let_go.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    with collector.running():
        yield collector


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_model(tmp_path_factory.mktemp("store"))


def attributes(span: Span) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in span.attributes}


def test_a_stream_is_a_span_beneath_its_callers_with_queue_encode_and_decode_beneath_it(
    store: Path, collector: Collector
) -> None:
    before_ns = time.time_ns()
    with (
        watched_server(store, "--otlp-endpoint", collector.endpoint) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        call = TranslationServiceStub(channel).StreamTranslate(
            pb.StreamTranslateRequest(model=MODEL, text=SENTENCE),
            metadata=(("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01"), ("x-request-id", "mine")),
        )
        *_, last = call
        wait_until(lambda: len(collector.spans) >= 4)
        wait_until(lambda: total(server.metrics(), "stepstream_spans_exported_total") == 4)
        assert total(server.metrics(), "stepstream_spans_dropped_total") == 0
    after_ns = time.time_ns()
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE_ID}
    (server_span,) = collector.named(f"{SERVICE}/StreamTranslate")
    assert server_span.parent_span_id.hex() == SPAN_ID
    assert server_span.kind == Span.SPAN_KIND_SERVER
    has = attributes(server_span)
    assert has["rpc.grpc.status_code"] == 0
    assert (has["stepstream.request_id"], has["stepstream.model"], has["stepstream.version"]) == ("mine", MODEL, 1)
    assert has["stepstream.source_tokens"] == last.completion.num_source_tokens
    assert has["stepstream.target_tokens"] == last.completion.num_target_tokens
    (queue,), (encode,), (decode,) = (collector.named(name) for name in ("queue", "encode", "decode"))
    assert {span.parent_span_id for span in (queue, encode, decode)} == {server_span.span_id}
    assert attributes(decode)["stepstream.target_tokens"] == last.completion.num_target_tokens
    times = [before_ns, server_span.start_time_unix_nano]
    for span in (queue, encode, decode):
        times += [span.start_time_unix_nano, span.end_time_unix_nano]
    assert [*times, server_span.end_time_unix_nano, after_ns] == sorted(
        [*times, server_span.end_time_unix_nano, after_ns]
    )
    assert queue.end_time_unix_nano == encode.start_time_unix_nano
    assert encode.end_time_unix_nano == decode.start_time_unix_nano
    assert collector.resources[0]["service.name"] == "stepstream"
    assert SENTENCE.encode() not in b"".join(span.SerializeToString() for span in collector.spans)


def test_the_requests_of_one_stream_are_spans_beneath_the_streams(store: Path, collector: Collector) -> None:
    contents = inference_pb2.InferTensorContents(bytes_contents=[SENTENCE.encode()])
    tensor = inference_pb2.ModelInferRequest.InferInputTensor(
        name="text", datatype="BYTES", shape=[1], contents=contents
    )
    request = inference_pb2.ModelInferRequest(model_name=MODEL, inputs=[tensor])
    with (
        watched_server(store, "--otlp-endpoint", collector.endpoint) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        list(GRPCInferenceServiceStub(channel).ModelStreamInfer(iter([request, request])))
        wait_until(lambda: len(collector.spans) >= 7)
    (stream,) = collector.named("/inference.GRPCInferenceService/ModelStreamInfer")
    for name in ("queue", "encode", "decode"):
        spans = collector.named(name)
        assert [span.parent_span_id for span in spans] == [stream.span_id] * 2
        for span in spans:
            times = [stream.start_time_unix_nano, span.start_time_unix_nano, span.end_time_unix_nano]
            assert [*times, stream.end_time_unix_nano] == sorted([*times, stream.end_time_unix_nano])


def test_a_refused_call_is_a_span_with_its_status_and_a_cancelled_one_is_whole(
    store: Path, collector: Collector
) -> None:
    with (
        watched_server(store, "--otlp-endpoint", collector.endpoint) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = TranslationServiceStub(channel)
        with pytest.raises(grpc.RpcError):
            stub.Translate(pb.TranslateRequest(model="unknown", texts=["x"]))
        for _ in range(20):
            stream = stub.StreamTranslate(
                pb.StreamTranslateRequest(
                    model=MODEL, text=SENTENCE, options=pb.DecodingOptions(min_length=99, max_length=100)
                )
            )
            next(stream)
            stream.cancel()
        wait_until(lambda: len(collector.named("decode")) == 20)
        assert all("detach" not in line for line in server.lines()), server.lines()
        assert {call["code"] for call in server.calls()} == {"NOT_FOUND", "CANCELLED"}
    (refused,) = collector.named(f"{SERVICE}/Translate")
    assert attributes(refused)["rpc.grpc.status_code"] == grpc.StatusCode.NOT_FOUND.value[0]
    assert len(collector.named(f"{SERVICE}/StreamTranslate")) == 20
    assert all(span.status.code != Status.STATUS_CODE_ERROR for span in collector.named("decode"))


def test_the_ratio_decides_where_the_caller_has_not(store: Path, collector: Collector) -> None:
    with (
        watched_server(store, "--otlp-endpoint", collector.endpoint, "--trace-ratio", "0") as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = TranslationServiceStub(channel)
        for _ in range(20):
            stub.ListModels(pb.ListModelsRequest())
        stub.ListModels(pb.ListModelsRequest(), metadata=(("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01"),))
        wait_until(lambda: len(collector.spans) >= 1)
    assert [span.trace_id.hex() for span in collector.spans] == [TRACE_ID]


async def list_often(address: str, number: int) -> None:
    async with AsyncClient(address) as client:

        async def ask() -> None:
            for _ in range(number // 20):
                assert await client.list_models(timeout_s=60)

        await asyncio.gather(*(ask() for _ in range(20)))


@pytest.mark.fault(63)
@pytest.mark.parametrize("kind", ["stalled", "gone"])
def test_a_collector_that_stalls_or_is_gone_costs_spans_and_no_call(store: Path, kind: str) -> None:
    """The collector takes bytes and never answers, or nothing listens: every call is answered, the lost spans are
    counted, and the server ends in time with 0."""
    collector = Collector(stalled=True)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        gone = f"http://127.0.0.1:{unused.getsockname()[1]}/v1/traces"
    endpoint = collector.endpoint if kind == "stalled" else gone
    with collector.running(), watched_server(store, "--otlp-endpoint", endpoint) as server:
        asyncio.run(list_often(server.address, 2000))
        wait_until(lambda: total(server.metrics(), "stepstream_spans_dropped_total") > 0, timeout_s=120)
        asyncio.run(list_often(server.address, 200))
        wait_until(lambda: total(server.metrics(), "stepstream_requests_total", code="OK") == 2200)


@pytest.fixture
def traced_client(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """The spans of this process, which has a tracer provider for as long as the test runs."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter


def test_the_spans_of_our_clients_and_of_the_server_are_one_trace(
    store: Path, collector: Collector, traced_client: InMemorySpanExporter
) -> None:
    async def from_asyncio(address: str) -> None:
        async with AsyncClient(address) as client:
            await client.translate([SENTENCE], model=MODEL)
            stream = client.stream(SENTENCE, model=MODEL)
            assert len([event async for event in stream]) > 5
            async with client.interactive(SENTENCE, model=MODEL) as translation:
                translation.close()
                assert len([event async for event in translation]) > 5
            stream = client.stream(SENTENCE, model=MODEL)
            await anext(stream)
            await stream.aclose()

    with watched_server(store, "--otlp-endpoint", collector.endpoint) as server:
        with Client(server.address) as client:
            client.translate([SENTENCE], model=MODEL)
            assert len(list(client.stream(SENTENCE, model=MODEL))) > 5
        asyncio.run(from_asyncio(server.address))
        wait_until(lambda: len([s for s in collector.spans if s.kind == Span.SPAN_KIND_SERVER]) == 6)
    servers = [span for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER]
    clients = {
        format(span.context.span_id, "016x"): format(span.context.trace_id, "032x")
        for span in traced_client.get_finished_spans()
        if span.context is not None
    }
    assert len(clients) == 6
    assert {span.parent_span_id.hex(): span.trace_id.hex() for span in servers} == clients
