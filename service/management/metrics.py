"""What model management counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from service.model.errors import Reason

LOADED = "loaded"


class LoadMetrics:
    """Counts how loads end: every outcome is there from the start, at 0."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._loads = Counter("stepstream_model_loads", "Loads of versions by outcome", ["outcome"], registry=registry)
        for outcome in (LOADED, *Reason):
            self._loads.labels(outcome)

    def load_ended(self, outcome: str) -> None:
        self._loads.labels(outcome).inc()
