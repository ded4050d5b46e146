"""A real server as a child process that can be looked into, killed, and asked for its counts."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue

from prometheus_client.parser import text_string_to_metric_families

from hostile.ports import free_port
from hostile.serving import BREAK
from service.settings import Settings

START_TIMEOUT_S, STOP_TIMEOUT_S, ANSWER_TIMEOUT_S = 180.0, 90.0, 60.0
NUM_TRIES = 3
READY = re.compile(r"stepstream: .*\bserving on (\S+:\d+)\s*")
OPENED, CLOSED = "stepstream_streams_opened_total", "stepstream_streams_closed_total"
SLOTS, QUEUE, PROMISED = "stepstream_slots_in_use", "stepstream_queue_depth", "stepstream_slots_promised"


class ServerLostError(Exception):
    """A server did not start, died, or did not answer."""


@dataclass(frozen=True)
class Memory:
    """Bytes: resident, allocated by malloc (heaps and mapped blocks; 0 where glibc does not tell)."""

    resident: int
    allocated: int


@dataclass(frozen=True)
class Balance:
    """What a server counts of the states of its streams (promise 1)."""

    opened: int
    closed: int
    slots_in_use: int
    queue_depth: int
    slots_promised: int

    @property
    def is_exact(self) -> bool:
        """Every state that was opened is closed, and nothing holds a slot or waits."""
        return self.opened == self.closed and not (self.slots_in_use or self.queue_depth or self.slots_promised)

    def __str__(self) -> str:
        return (
            f"{self.opened:,} opened, {self.closed:,} closed, {self.slots_in_use} slots in use, "
            f"{self.queue_depth} in the queue, {self.slots_promised} slots promised"
        )


class ServerProcess:
    """`start` and `stop` or `kill` once each."""

    def __init__(self, store: Path, log: Path, flags: Sequence[str] = (), broken_by: Sequence[Path] = ()) -> None:
        """log takes what the server writes to stderr; broken_by are the files of `hostile.serving --break`."""
        self._log = log
        self.metrics_port = free_port()
        breaks = [part for path in broken_by for part in (BREAK, str(path))]
        serve = ["serve", "--host", "127.0.0.1", "--port", "0", "--metrics-port", str(self.metrics_port)]
        self.admin_address: str | None = None
        if "admin_port" in Settings.model_fields:
            admin_port = free_port()
            serve += ["--admin-port", str(admin_port)]
            self.admin_address = f"127.0.0.1:{admin_port}"
        self._command = [sys.executable, "-m", "hostile.serving", *breaks, *serve, "--model-store", str(store), *flags]
        self._lines: Queue[str] = Queue()
        self._asking = threading.Lock()
        self.address = ""

    def start(self) -> None:
        """Returns once the server is ready; raises ServerLostError."""
        with self._log.open("a", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        threading.Thread(target=self._read, daemon=True).start()
        ready = READY.fullmatch(self._line(START_TIMEOUT_S))
        if ready is None:
            raise ServerLostError("the server said something else than that it is ready")
        self.address = ready.group(1)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> int:
        """SIGTERM; the exit status. Raises ServerLostError where it does not end."""
        self._process.terminate()
        try:
            return self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise ServerLostError(f"the server did not stop within {STOP_TIMEOUT_S:.0f} s") from None
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL; nothing where it has ended."""
        if self.is_alive:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                with suppress(OSError):  # what a server that was killed has not read
                    pipe.close()

    def memory(self, *, collect: bool = False) -> Memory:
        """As it is now; with `collect` after a garbage collection. Raises ServerLostError."""
        with self._asking:
            assert self._process.stdin is not None
            try:
                self._process.stdin.write("collect\n" if collect else "\n")
                self._process.stdin.flush()
            except OSError as error:
                raise ServerLostError("the server is gone") from error
            allocated = sum(json.loads(self._line(ANSWER_TIMEOUT_S)).values())
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        return Memory(resident * 1024, allocated)

    def get(self, path: str) -> str:
        """What its HTTP port answers; raises OSError. A busy server cuts off an answer that takes too long, and is
        asked again."""
        for _ in range(NUM_TRIES - 1):
            with suppress(ConnectionError):
                return self._get(path)
        return self._get(path)

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}{path}", timeout=ANSWER_TIMEOUT_S) as answer:
            return str(answer.read().decode())

    def balance(self) -> Balance:
        """Its counts of now; raises OSError, and ServerLostError where it has none."""
        sums = self._sums()
        if OPENED not in sums:
            raise ServerLostError(f"the server does not count {OPENED}")
        return Balance(*(int(sums.get(name, 0)) for name in (OPENED, CLOSED, SLOTS, QUEUE, PROMISED)))

    def count(self, name: str) -> int:
        """One of its metrics, over all labels; raises OSError."""
        return int(self._sums().get(name, 0))

    def _sums(self) -> dict[str, float]:
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(self.get("/metrics")):
            for sample in family.samples:
                sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
        return sums

    def settled_balance(self, *, timeout_s: float = 20.0) -> Balance:
        """Its counts once they are exact, or after the time that clients may take to be missed."""
        ends_at = time.monotonic() + timeout_s
        while not (balance := self.balance()).is_exact and time.monotonic() < ends_at:
            time.sleep(0.1)
        return balance

    def _line(self, timeout_s: float) -> str:
        try:
            line = self._lines.get(timeout=timeout_s)
        except Empty:
            raise ServerLostError(f"the server said nothing for {timeout_s:.0f} s") from None
        if not line:
            raise ServerLostError(f"the server ended; {self._log} tells more")
        return line

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                self._lines.put(line)
        except ValueError:
            return  # closed after a kill
        finally:
            self._lines.put("")


@contextmanager
def serving(
    store: Path, log: Path, flags: Sequence[str] = (), broken_by: Sequence[Path] = ()
) -> Iterator[ServerProcess]:
    """A server for as long as the block runs."""
    server = ServerProcess(store, log, flags, broken_by)
    server.start()
    try:
        yield server
    finally:
        server.kill()
