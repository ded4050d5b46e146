"""What the server counts, for Prometheus: calls, tokens, model loads, and what its engines count. Labels have their
values from loaded models, method names and gRPC statuses, never from a client. It knows no gRPC and no engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from service.calls import Call
from service.observability.build import build_versions
from service.observability.call_totals import CallTotals
from service.observability.engine_metrics import EngineCollector, EngineMetrics, Labels

LATENCY_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
LAG_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class _ModelMetrics:
    """What the calls of one version count."""

    queue: Histogram
    first_token: Histogram
    source_tokens: Counter
    target_tokens: Counter
    totals: CallTotals


@dataclass(frozen=True)
class VersionTotals:
    """What one version has done since it was loaded."""

    calls: CallTotals
    engines: tuple[EngineMetrics, ...]


class Metrics:
    """Owns every metric of one server, and hears of its calls."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._opened = Counter("stepstream_streams_opened", "Calls begun", registry=registry)
        self._closed = Counter(
            "stepstream_streams_closed", "Calls ended, by gRPC status in lower case", ["reason"], registry=registry
        )
        self._requests = Counter(
            "stepstream_requests", "Calls ended, by method and gRPC status", ["method", "code"], registry=registry
        )
        self._request_seconds = self._latency("stepstream_request_duration_seconds", "Whole calls", ["method"])
        labels = ["model", "version"]
        self._queue_seconds = self._latency(
            "stepstream_queue_duration_seconds", "From a call's start until its first sequence has a slot", labels
        )
        self._unknown_fields = Counter(
            "stepstream_unknown_fields", "Fields of requests that were passed over", ["method"], registry=registry
        )
        self._first_token_seconds = self._latency(
            "stepstream_time_to_first_token_seconds", "From a stream's start until its first token is made", labels
        )
        self._source_tokens = Counter("stepstream_source_tokens", "Tokens of texts read", labels, registry=registry)
        self._target_tokens = Counter("stepstream_target_tokens", "Tokens sent", labels, registry=registry)
        self._lags = Histogram(
            "stepstream_event_loop_lag_seconds",
            "How late the event loop runs what is due, measured all the time",
            buckets=LAG_BUCKETS,
            registry=registry,
        )
        self._models: dict[Labels, _ModelMetrics] = {}
        self._engines = EngineCollector()
        registry.register(self._engines)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        Info("stepstream_build", "Versions of what runs", registry=registry).info(build_versions())

    def call_started(self, call: Call) -> None:  # noqa: ARG002
        self._opened.inc()

    def call_ended(self, call: Call) -> None:
        assert call.ended_at is not None
        self._closed.labels(call.code.lower()).inc()
        self._requests.labels(call.method, call.code).inc()
        self._unknown_fields.labels(call.method).inc(call.num_unknown_fields)
        self._request_seconds.labels(call.method).observe(call.ended_at - call.started_at)
        if (model := self._models.get((call.model, str(call.version)))) is None:
            return
        model.totals.add(call)
        model.source_tokens.inc(call.num_source_tokens)
        model.target_tokens.inc(call.num_target_tokens)
        if call.joined_at is not None:
            model.queue.observe(call.joined_at - call.started_at)
        if call.first_token_at is not None:
            model.first_token.observe(call.first_token_at - call.started_at)

    def engine(self, name: str, version: int, *, num_slots: int) -> EngineMetrics:
        """The metrics of one engine of a version, whose steps have num_slots rows at most."""
        labels = (name, str(version))
        if labels not in self._models:
            self._models[labels] = _ModelMetrics(
                self._queue_seconds.labels(*labels),
                self._first_token_seconds.labels(*labels),
                self._source_tokens.labels(*labels),
                self._target_tokens.labels(*labels),
                CallTotals(),
            )
        engine = EngineMetrics(num_slots, name, version)
        self._engines.add(labels, engine)
        return engine

    def watch_promised(self, name: str, version: int, read: Callable[[], int]) -> None:
        """Show how many rows of a version are promised, as `read` gives it on any thread, until the version is
        forgotten."""
        self._engines.watch_promised((name, str(version)), read)

    def totals(self, name: str, version: int) -> VersionTotals:
        """Of a version that is loaded. On the event loop."""
        labels = (name, str(version))
        return VersionTotals(self._models[labels].totals, self._engines.of(labels))

    def forget(self, name: str, version: int) -> None:
        """A version is unloaded: its series end, and begin at 0 if it is loaded again. An unknown one is no error."""
        labels = (name, str(version))
        self._engines.forget(labels)
        if self._models.pop(labels, None) is not None:
            for metric in (self._queue_seconds, self._first_token_seconds, self._source_tokens, self._target_tokens):
                metric.remove(*labels)

    def loop_lagged(self, seconds: float) -> None:
        """The event loop ran something this late."""
        self._lags.observe(seconds)

    def watch_gauge(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Show a number that `read` gives whenever somebody asks, from any thread."""
        Gauge(name, meaning, registry=self.registry).set_function(read)

    def watch_counter(self, name: str, meaning: str, read: Callable[[], int]) -> None:
        """As `watch_gauge`, for a number that only grows; its name gets `_total`."""
        self.registry.register(_Watched(name, meaning, read))

    def _latency(self, name: str, meaning: str, labels: list[str]) -> Histogram:
        return Histogram(name, meaning, labels, buckets=LATENCY_BUCKETS, registry=self.registry)


class _Watched(Collector):
    def __init__(self, name: str, meaning: str, read: Callable[[], int]) -> None:
        self._name, self._meaning, self._read = name, meaning, read

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(self._name, self._meaning, value=self._read())
