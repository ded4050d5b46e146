"""What a server still holds once its clients are done: nothing. Read from its metrics, as an operator would."""

from __future__ import annotations

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.client import server_process
from service.client.server_process import ServerProcess
from service.server import Server

BALANCED_WITHIN_S = 15.0
"""A second on an idle machine; tests share theirs."""


@dataclass(frozen=True)
class Balance:
    """Of one server at one moment. Rows of all its models' steps, requests of all their queues, and rows
    that admission counts."""

    opened: int
    closed: int
    slots: int
    queued: int
    promised: int

    @property
    def is_even(self) -> bool:
        return self.opened == self.closed and not (self.slots or self.queued or self.promised)


def balance_of(metrics: str) -> Balance:
    """From the text of /metrics."""
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    names = ("streams_opened_total", "streams_closed_total", "slots_in_use", "queue_depth", "slots_promised")
    return Balance(*(int(sums.get(f"stepstream_{name}", 0.0)) for name in names))


def require_balance(read: Callable[[], str], *, timeout_s: float = BALANCED_WITHIN_S) -> Balance:
    """The balance, once it is even; AssertionError where it is not in time, OSError where nobody answers."""
    deadline = time.monotonic() + timeout_s
    while not (balance := balance_of(read())).is_even:
        assert time.monotonic() < deadline, f"after {timeout_s:g} s the server still holds {balance}"
        time.sleep(0.02)
    return balance


def read_metrics(server: ServerProcess) -> str:
    """The text of /metrics."""
    with urllib.request.urlopen(f"http://{server.metrics_address}/metrics", timeout=30) as response:
        return str(response.read().decode())


class KnownServers:
    """Every server that the tests have started and that still runs, in processes of their own and in this one."""

    def __init__(self) -> None:
        self._processes: dict[int, ServerProcess] = {}
        self._inside: list[Server] = []
        self._leaks: list[AssertionError] = []

    @contextmanager
    def known(self) -> Iterator[None]:
        """Hear of every server that starts, and look at it once more before it is stopped."""
        wait_until_ready, stop, start = server_process._wait_until_ready, server_process._stop, Server.start

        def ready(process: subprocess.Popen[str], timeout_s: float) -> ServerProcess:
            server = wait_until_ready(process, timeout_s)
            if server.metrics_address is not None:
                self._processes[server.pid] = server
            return server

        def stopping(process: subprocess.Popen[str], timeout_s: float) -> None:
            try:
                if (server := self._processes.pop(process.pid, None)) is not None:
                    self._look_at(server)
            except AssertionError as leak:
                self._leaks.append(leak)
            stop(process, timeout_s)

        async def starting(server: Server) -> None:
            self._inside.append(server)
            await start(server)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(server_process, "_wait_until_ready", ready)
            patch.setattr(server_process, "_stop", stopping)
            patch.setattr(Server, "start", starting)
            yield

    def require_balance(self) -> None:
        """Of every server; AssertionError where a test has left something behind."""
        leaks, self._leaks = self._leaks, []
        inside, self._inside = self._inside, []
        for leak in leaks:
            raise leak
        for server in list(self._processes.values()):
            self._look_at(server)
        for stopped in inside:
            require_balance(lambda stopped=stopped: generate_latest(stopped._telemetry.metrics.registry).decode())

    def _look_at(self, server: ServerProcess) -> None:
        try:
            require_balance(lambda: read_metrics(server))
        except (ConnectionError, urllib.error.URLError):
            self._processes.pop(server.pid, None)  # it has ended, and nothing with it that could be held
