"""A server whose event loop is blocked says so, although the loop cannot."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hostile.ports import free_port
from service.observability import telemetry
from service.server import Server
from service.settings import Settings
from tests.faults.watched import ask, copy_model, read_metrics, total, wait_until

BLOCKED_S = 4.0


class Served:
    """A server on a thread of its own, whose loop a test may block."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()

    def block(self, seconds: float) -> None:
        self._loop.call_soon_threadsafe(time.sleep, seconds)

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        thread.start()
        try:
            assert self._ready.wait(60)
            yield
        finally:
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join()
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _serve(self) -> None:
        server = Server(self._settings)
        await server.start()
        self._ready.set()
        await self._stop.wait()
        await server.stop()


@pytest.mark.fault(60)
def test_a_blocked_event_loop_is_not_ready_then_not_live_and_its_lag_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop sleeps for 4 s: the stall is in the metrics, after 2 s readiness is false, after its limit liveness too,
    and all is well again when the loop breathes."""
    monkeypatch.setattr(telemetry, "LIVE_LAG_S", BLOCKED_S - 1.5)
    port = free_port()
    store = copy_model(tmp_path)
    served = Served(Settings(port=0, metrics_port=port, model_store=store, verify_certificates=False))
    with served.running():
        assert ask(port, "/readyz") == (200, "ready\n")
        before = read_metrics(port)
        served.block(BLOCKED_S)
        wait_until(lambda: total(read_metrics(port), "stepstream_event_loop_stall_seconds") >= 0.5)
        wait_until(lambda: ask(port, "/readyz") == (503, "not ready\n"))
        assert total(read_metrics(port), "stepstream_event_loop_stall_seconds") >= telemetry.READY_LAG_S
        wait_until(lambda: ask(port, "/livez") == (503, "not live\n"))
        wait_until(lambda: ask(port, "/readyz") == (200, "ready\n"))
        assert ask(port, "/livez") == (200, "live\n")
        wait_until(lambda: late(read_metrics(port)) == late(before) + 1)


def late(metrics: dict[tuple[str, frozenset[tuple[str, str]]], float]) -> float:
    """How many beats came more than 2 s late."""
    name = "stepstream_event_loop_lag_seconds"
    return total(metrics, f"{name}_count") - total(metrics, f"{name}_bucket", le="2.0")
