"""Everything that watches one server, put together from its settings: metrics, access log, traces, the event loop's
monitor, and the HTTP port that shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import grpc.aio

from service.calls import CallObserver
from service.metrics import Metrics
from service.observability.access_log import AccessLog
from service.observability.log_sink import LogSink
from service.observability.loop_monitor import LoopMonitor
from service.settings import Settings
from service.web import WatchServer

if TYPE_CHECKING:
    from service.observability.tracing import Tracing

LIVE_LAG_S = 10.0
"""An event loop that has been blocked for longer will not come back: whoever restarts servers should."""
READY_LAG_S = 2.0
"""A server whose event loop has been blocked for longer should get no new calls."""
LAST_SPANS_S = 2.0


class Telemetry:
    """`start` and `stop` once each, on the loop that serves."""

    def __init__(self, settings: Settings, *, log: LogSink | None = None) -> None:
        """log: where the process's lines go, if what it drops is to be counted."""
        self._settings = settings
        self.metrics = Metrics()
        self.observers: list[CallObserver] = [self.metrics]
        """Want to hear of every call."""
        self.interceptors: list[grpc.aio.ServerInterceptor] = []
        """Belong around all others."""
        self._monitor = LoopMonitor(self.metrics.loop_lagged)
        self._tracing: Tracing | None = None
        self.metrics.watch_gauge(
            "stepstream_event_loop_stall_seconds", "How long the event loop is blocked by now", self._monitor.lag_s
        )
        if log is not None:
            self.metrics.watch_counter(
                "stepstream_log_lines_dropped", "Lines that stderr did not take", lambda: log.num_dropped
            )
        if settings.access_log:
            self.observers.append(AccessLog())
        if settings.otlp_endpoint:
            self._trace(settings)

    def web(self, is_ready: Callable[[], bool]) -> WatchServer:
        """The HTTP port, not started; is_ready is asked on any thread. Raises OSError where the port cannot be had."""
        return WatchServer(
            self._settings.metrics_host,
            self._settings.metrics_port,
            self.metrics.registry,
            is_live=lambda: self._monitor.lag_s() < LIVE_LAG_S,
            is_ready=lambda: self._monitor.lag_s() < READY_LAG_S and is_ready(),
        )

    def start(self) -> None:
        self._monitor.start()

    async def stop(self) -> None:
        self._monitor.stop()
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.stop, timeout_s=LAST_SPANS_S)

    def _trace(self, settings: Settings) -> None:
        from service.observability.tracing import Tracing  # half a second that only those pay who trace

        self._tracing = tracing = Tracing(settings.otlp_endpoint, ratio=settings.trace_ratio)
        self.observers.append(tracing)
        self.interceptors.append(tracing.interceptor())
        self.metrics.watch_counter("stepstream_spans_exported", "Spans sent", lambda: tracing.num_exported)
        self.metrics.watch_counter("stepstream_spans_dropped", "Spans lost", lambda: tracing.num_dropped)
