"""What the engines count, for Prometheus. An engine's thread writes plain numbers, without a lock; they are put
together when somebody reads them. It knows no gRPC and no engine."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

STEP_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
ROW_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

_log = structlog.get_logger()


class Tally:
    """A histogram that one thread fills and any may read; an observation may count several times."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, weight: int = 1) -> None:
        self.counts[bisect_left(self._bounds, value)] += weight
        self.sum += value * weight


class EngineMetrics:
    """Observes one engine; called on its thread."""

    def __init__(self, num_slots: int, model: str, version: int) -> None:
        """model and version: whose engine it is, for the lines of the log."""
        self._log = _log.bind(model=model, version=version)
        self.num_slots = num_slots
        self.num_rows = self.queue_length = self.queue_tokens = self.num_encode_failures = 0
        self.num_failed_rows = self.num_terminated_steps = self.num_sequences = 0
        self.steps = Tally(STEP_BUCKETS)
        self.encodes = Tally(STEP_BUCKETS)
        self.rows = Tally(ROW_BUCKETS)
        self.gaps = Tally(STEP_BUCKETS)
        self.steps_of_rows = [0] * (num_slots + 1)
        """How many steps had so many rows."""
        self.seconds_of_rows = [0.0] * (num_slots + 1)
        """How long the steps of so many rows took together."""
        self._num_joined = 0
        self._step_ended_at = 0.0

    def joined(self, *, num_requests: int, seconds: float) -> None:
        self.encodes.observe(seconds)
        self._num_joined += num_requests
        self.num_sequences += num_requests

    def encode_failed(self, error: BaseException) -> None:
        self.num_encode_failures += 1
        self._log.error("encode failed", exc_info=error)

    def row_failed(self, error: BaseException) -> None:
        self.num_failed_rows += 1
        self._log.error("request failed alone in a step", exc_info=error)

    def step_terminated(self) -> None:
        self.num_terminated_steps += 1
        self._log.error("a step did not end in time and was ended")

    def step_made(self, *, num_rows: int, seconds: float) -> None:
        self.steps.observe(seconds)
        self.rows.observe(num_rows)
        self.steps_of_rows[num_rows] += 1
        self.seconds_of_rows[num_rows] += seconds
        ended_at = time.monotonic()
        if (num_stayed := num_rows - self._num_joined) > 0:
            self.gaps.observe(ended_at - self._step_ended_at, num_stayed)
        self._step_ended_at, self._num_joined = ended_at, 0

    def load_changed(self, *, num_rows: int, queue_length: int, queue_tokens: int) -> None:
        self.num_rows, self.queue_length, self.queue_tokens = num_rows, queue_length, queue_tokens


Labels = tuple[str, str]
"""A model's name and version."""


class EngineCollector(Collector):
    """The engines of every loaded version; those of one version are summed. A version that is forgotten has no series
    any more."""

    def __init__(self) -> None:
        self._engines: dict[Labels, tuple[EngineMetrics, ...]] = {}
        self._promised: dict[Labels, Callable[[], int]] = {}

    def add(self, labels: Labels, engine: EngineMetrics) -> None:
        self._engines[labels] = (*self._engines.get(labels, ()), engine)

    def watch_promised(self, labels: Labels, read: Callable[[], int]) -> None:
        self._promised[labels] = read

    def of(self, labels: Labels) -> tuple[EngineMetrics, ...]:
        """The engines of one version."""
        return self._engines.get(labels, ())

    def forget(self, labels: Labels) -> None:
        """An unknown version is no error."""
        self._engines.pop(labels, None)
        self._promised.pop(labels, None)

    def collect(self) -> Iterator[Metric]:
        engines = list(self._engines.items())
        promised = GaugeMetricFamily(
            "stepstream_slots_promised", "Sequences that were admitted and have not ended", labels=("model", "version")
        )
        for labels, read in list(self._promised.items()):
            promised.add_metric(labels, read())
        yield promised
        for name, meaning, count in _GAUGES:
            gauge = GaugeMetricFamily(name, meaning, labels=("model", "version"))
            for labels, group in engines:
                gauge.add_metric(labels, sum(map(count, group)))
            yield gauge
        for name, meaning, count in _COUNTERS:
            counter = CounterMetricFamily(name, meaning, labels=("model", "version"))
            for labels, group in engines:
                counter.add_metric(labels, sum(map(count, group)))
            yield counter
        for name, meaning, bounds, tally in _HISTOGRAMS:
            histogram = HistogramMetricFamily(name, meaning, labels=("model", "version"))
            for labels, group in engines:
                histogram.add_metric(labels, *_summed(bounds, map(tally, group)))
            yield histogram


_GAUGES: tuple[tuple[str, str, Callable[[EngineMetrics], int]], ...] = (
    ("stepstream_slots", "Sequences that fit into the decoder steps", lambda engine: engine.num_slots),
    ("stepstream_slots_in_use", "Sequences in the decoder steps", lambda engine: engine.num_rows),
    ("stepstream_queue_depth", "Requests that wait for a slot", lambda engine: engine.queue_length),
    ("stepstream_queue_tokens", "Source tokens of the requests that wait", lambda engine: engine.queue_tokens),
)
_COUNTERS: tuple[tuple[str, str, Callable[[EngineMetrics], int]], ...] = (
    ("stepstream_encode_failures", "Sources that the encoder failed on", lambda engine: engine.num_encode_failures),
    ("stepstream_failed_rows", "Requests that failed alone in a step", lambda engine: engine.num_failed_rows),
    ("stepstream_terminated_steps", "Steps that did not end in time", lambda engine: engine.num_terminated_steps),
)
_HISTOGRAMS: tuple[tuple[str, str, Sequence[float], Callable[[EngineMetrics], Tally]], ...] = (
    ("stepstream_step_duration_seconds", "Decoder steps", STEP_BUCKETS, lambda engine: engine.steps),
    ("stepstream_encode_duration_seconds", "Encodes of joining requests", STEP_BUCKETS, lambda engine: engine.encodes),
    ("stepstream_step_rows", "Sequences that share a step (the batch size)", ROW_BUCKETS, lambda engine: engine.rows),
    (
        "stepstream_time_between_tokens_seconds",
        "From a step's end to the next one's, once for each sequence that is in both",
        STEP_BUCKETS,
        lambda engine: engine.gaps,
    ),
)


def _summed(bounds: Sequence[float], tallies: Iterable[Tally]) -> tuple[list[tuple[str, float]], float]:
    """Cumulative buckets and the sum of all observations."""
    counts, total = [0] * (len(bounds) + 1), 0.0
    for tally in tallies:
        counts = [count + other for count, other in zip(counts, tally.counts, strict=True)]
        total += tally.sum
    names = [*map(str, map(float, bounds)), "+Inf"]
    return list(zip(names, map(float, accumulate(counts)), strict=True)), total
