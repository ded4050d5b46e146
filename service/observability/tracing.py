"""Traces by OpenTelemetry: gRPC's standard instrumentation opens a span for each call, and this module hangs what the
engine did beneath it (queue, encode, decode). A collector that is slow or gone costs spans, never a call."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

import grpc.aio
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.grpc import aio_server_interceptor
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

from service.calls import Call
from service.observability.build import package_version
from service.observability.spans import SpanInterceptor

MAX_SPANS = 8192
"""Spans that wait for the collector; further ones are dropped and counted."""
EXPORT_TIMEOUT_S = 5.0
EXPORT_INTERVAL_S = 1.0
TRACED = ("/stepstream.", "/inference.")
"""How the methods begin that are traced; health and reflection are not."""


class _Traced(NamedTuple):
    """A call's span, and when the monotonic clock was 0 on the spans' clock. Requests of one stream share its span."""

    span: Span
    begin_ns: int


class Tracing:
    """Owns the way of the spans out of the process; hears of every call. `stop` once."""

    def __init__(self, endpoint: str, *, ratio: float) -> None:
        """endpoint is the whole URL; ratio of the calls are traced where the caller's traceparent does not decide."""
        resource = Resource.create({SERVICE_NAME: "stepstream", SERVICE_VERSION: package_version("stepstream")})
        self._provider = TracerProvider(ParentBasedTraceIdRatio(ratio), resource, shutdown_on_exit=False)
        self._exporter = _CountingExporter(OTLPSpanExporter(endpoint, timeout=EXPORT_TIMEOUT_S))
        self._processor = _BoundedProcessor(self._exporter)
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer("stepstream")
        self._spans: dict[int, _Traced] = {}

    @property
    def num_exported(self) -> int:
        """Spans that the collector took."""
        return self._exporter.num_exported

    @property
    def num_dropped(self) -> int:
        """Spans that the collector will never see."""
        return self._processor.num_dropped + self._exporter.num_failed

    def interceptor(self) -> grpc.aio.ServerInterceptor:
        """Opens and ends each call's span; the outermost one, so that it sees every status."""
        standard: grpc.aio.ServerInterceptor = aio_server_interceptor(  # type: ignore[no-untyped-call]
            self._provider, filter_=lambda details: details.method.startswith(TRACED)
        )
        return SpanInterceptor(standard)

    def call_started(self, call: Call) -> None:
        span = trace.get_current_span()
        if isinstance(span, Span):  # a call that is not traced has another kind
            self._spans[id(call)] = _Traced(span, time.time_ns() - time.monotonic_ns())

    def call_ended(self, call: Call) -> None:
        if (traced := self._spans.pop(id(call), None)) is None:
            return
        traced.span.set_attributes(
            {
                "stepstream.request_id": call.request_id,
                "stepstream.model": call.model,
                "stepstream.version": call.version,
                "stepstream.source_tokens": call.num_source_tokens,
                "stepstream.target_tokens": call.num_target_tokens,
            }
        )
        self._add_child(traced, call, "queue", call.started_at, call.joined_at)
        self._add_child(traced, call, "encode", call.joined_at, call.encoded_at)
        self._add_child(traced, call, "decode", call.encoded_at, call.last_token_at)

    def stop(self, *, timeout_s: float) -> None:
        """Send what waits; whatever a collector leaves waiting after timeout_s is lost. Blocks."""
        stopping = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        stopping.start()
        stopping.join(timeout_s)

    def _add_child(self, traced: _Traced, call: Call, name: str, start: float | None, end: float | None) -> None:
        """A span beneath the call's, whose times are monotonic ones."""
        if start is None or end is None:
            return
        begin_ns = traced.begin_ns
        context = trace.set_span_in_context(traced.span)
        child = self._tracer.start_span(name, context, start_time=begin_ns + round(start * 1e9))
        if name == "decode":
            child.set_attribute("stepstream.target_tokens", call.num_target_tokens)
        child.end(begin_ns + round(end * 1e9))


class _CountingExporter(SpanExporter):
    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.num_taken = self.num_exported = self.num_failed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.num_taken += len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            if result is SpanExportResult.SUCCESS:
                self.num_exported += len(spans)
            else:
                self.num_failed += len(spans)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class _BoundedProcessor(BatchSpanProcessor):
    """Counts what the queue cannot hold, where the standard one would write a log line for each."""

    def __init__(self, exporter: _CountingExporter) -> None:
        super().__init__(exporter, max_queue_size=MAX_SPANS, schedule_delay_millis=EXPORT_INTERVAL_S * 1000)
        self._exporter = exporter
        self._num_queued = self.num_dropped = 0

    def on_end(self, span: ReadableSpan) -> None:
        if self._num_queued - self._exporter.num_taken >= MAX_SPANS:
            self.num_dropped += 1
            return
        self._num_queued += 1
        super().on_end(span)
