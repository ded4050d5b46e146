"""What the server counts, for Prometheus: requests, queue, rows, steps, tokens. It knows no gRPC and no engine."""

from __future__ import annotations

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.calls import Call

STEP_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_log = structlog.get_logger()

ROW_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Owns every metric of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "stepstream_requests", "Requests by method and gRPC status", ["method", "code"], registry=self.registry
        )
        self._request_seconds = Histogram(
            "stepstream_request_duration_seconds", "Whole requests", ["method"], registry=self.registry
        )
        model = ["model", "version"]
        self._steps = Histogram(
            "stepstream_step_duration_seconds", "Decoder steps", model, buckets=STEP_BUCKETS, registry=self.registry
        )
        self._encodes = Histogram(
            "stepstream_encode_duration_seconds",
            "Encodes of joining requests",
            model,
            buckets=STEP_BUCKETS,
            registry=self.registry,
        )
        self._rows = Histogram(
            "stepstream_step_rows", "Sequences sharing a step", model, buckets=ROW_BUCKETS, registry=self.registry
        )
        self._tokens = Counter("stepstream_tokens", "Target tokens made", model, registry=self.registry)
        self._running = Gauge("stepstream_running_requests", "Requests in a slot", model, registry=self.registry)
        self._failed_rows = Counter(
            "stepstream_failed_rows", "Requests that failed alone in a step", model, registry=self.registry
        )
        self._terminated_steps = Counter(
            "stepstream_terminated_steps", "Steps that did not end in time", model, registry=self.registry
        )
        self._queue = Gauge("stepstream_queued_requests", "Requests that wait", model, registry=self.registry)

    def call_started(self, call: Call) -> None:
        """Nothing is counted before a call has its status."""

    def call_ended(self, call: Call) -> None:
        assert call.ended_at is not None
        self._requests.labels(call.method, call.code).inc()
        self._request_seconds.labels(call.method).observe(call.ended_at - call.started_at)

    def engine(self, name: str, version: int) -> EngineMetrics:
        """The metrics of one engine of a model."""
        labels = (name, str(version))
        return EngineMetrics(
            self._encodes.labels(*labels),
            self._steps.labels(*labels),
            self._rows.labels(*labels),
            self._tokens.labels(*labels),
            self._running.labels(*labels),
            self._queue.labels(*labels),
            self._failed_rows.labels(*labels),
            self._terminated_steps.labels(*labels),
        )


class EngineMetrics:
    """Observes one engine; called on its thread."""

    def __init__(
        self,
        encodes: Histogram,
        steps: Histogram,
        rows: Histogram,
        tokens: Counter,
        running: Gauge,
        queue: Gauge,
        failed_rows: Counter,
        terminated_steps: Counter,
    ) -> None:
        self._encodes = encodes
        self._steps = steps
        self._rows = rows
        self._tokens = tokens
        self._running = running
        self._queue = queue
        self._failed_rows = failed_rows
        self._terminated_steps = terminated_steps
        self._num_running = self._queue_length = 0

    def joined(self, *, seconds: float) -> None:
        self._encodes.observe(seconds)

    def encode_failed(self, error: BaseException) -> None:
        _log.error("encode failed", exc_info=error)

    def row_failed(self, error: BaseException) -> None:
        self._failed_rows.inc()
        _log.error("request failed alone in a step", exc_info=error)

    def step_terminated(self) -> None:
        self._terminated_steps.inc()
        _log.error("a step did not end in time and was ended")

    def step_made(self, *, num_rows: int, seconds: float) -> None:
        self._steps.observe(seconds)
        self._rows.observe(num_rows)
        self._tokens.inc(num_rows)

    def load_changed(self, *, num_running: int, queue_length: int) -> None:
        self._running.inc(num_running - self._num_running)
        self._queue.inc(queue_length - self._queue_length)
        self._num_running, self._queue_length = num_running, queue_length
