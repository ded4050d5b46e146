"""Servers that faults are played on: replicas in processes of their own, to be stopped, frozen and killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from hostile.ports import free_port

STORE = Path(__file__).parents[2] / "model_store"
LIMIT_S = 120.0


class Replica:
    """One server on ports of its own, which it keeps when it is started again."""

    def __init__(self, store: Path, **settings: object) -> None:
        self.port, self.watch_port = free_port(), free_port()
        settings = {"port": self.port, "metrics_port": self.watch_port, "model_store": store, **settings}
        self._environment = {f"STEPSTREAM_{name.upper()}": str(value) for name, value in settings.items()}
        self._process: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None
        return self._process

    def start(self) -> None:
        """Start the process; `wait_until_ready` waits for it."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "service.cli", "serve"],
            env=os.environ | self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def wait_until_ready(self) -> None:
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            assert self.process.poll() is None, f"the replica ended with {self.process.returncode}"
            if is_ready(self.watch_port):
                return
            time.sleep(0.05)
        raise TimeoutError("the replica is not ready")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(LIMIT_S)

    def stop(self) -> int:
        """As a rolling restart does: the exit status."""
        self.process.terminate()
        return self.process.wait(LIMIT_S)

    def end(self) -> None:
        """Leave nothing behind, whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(LIMIT_S)


def is_ready(watch_port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{watch_port}/readyz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def num_ended(replicas: Sequence[Replica], code: str, method: str = "StreamTranslate") -> int:
    """Calls of a method that the replicas have ended with a status."""
    total = 0.0
    for replica in replicas:
        with urllib.request.urlopen(f"http://127.0.0.1:{replica.watch_port}/metrics", timeout=LIMIT_S) as answer:
            text = answer.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "stepstream_requests_total" and sample.labels["method"] == method:
                    total += sample.value if sample.labels["code"] == code else 0.0
    return int(total)


@contextmanager
def running_replicas(number: int, store: Path, **settings: object) -> Iterator[list[Replica]]:
    """That many replicas of one store, ready."""
    with ExitStack() as stack:
        replicas = [Replica(store, **settings) for _ in range(number)]
        for replica in replicas:
            stack.callback(replica.end)
            replica.start()
        for replica in replicas:
            replica.wait_until_ready()
        yield replicas


def store_of(folder: Path, *names: str) -> Path:
    """A store with some of the shipped models alone, which a replica loads sooner than all."""
    for name in names:
        shutil.copytree(STORE / name, folder / name)
    return folder
