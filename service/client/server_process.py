"""A server as a child process, for as long as a block runs. It knows only the line that a ready server prints."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from service.client.errors import ServerProcessError, StepstreamError

READY_LINE = re.compile(r"stepstream: (?:metrics on (\S+:\d+), )?serving on (\S+:\d+)\s*")
SERVE_COMMAND = (
    sys.executable,
    "-m",
    "service.cli",
    "serve",
    "--host",
    "127.0.0.1",
    "--port",
    "0",
    "--metrics-port",
    "0",
)


@dataclass(frozen=True)
class ServerProcess:
    """A server that is ready. `metrics_address` is None of one that has none."""

    pid: int
    address: str
    metrics_address: str | None


@contextmanager
def running_server(
    command: Sequence[str] = SERVE_COMMAND, *, start_timeout_s: float = 120.0, stop_timeout_s: float = 40.0
) -> Iterator[str]:
    """As `server_process`, for a caller that needs no more than its HOST:PORT."""
    with server_process(command, start_timeout_s=start_timeout_s, stop_timeout_s=stop_timeout_s) as server:
        yield server.address


@contextmanager
def server_process(
    command: Sequence[str] = SERVE_COMMAND, *, start_timeout_s: float = 120.0, stop_timeout_s: float = 40.0
) -> Iterator[ServerProcess]:
    """Start the server and give it once it is ready; stop it with SIGTERM when the block ends.

    Raises ServerProcessError where it is not ready in time, dies, or does not exit with 0 when asked to stop; what it
    wrote to stderr is then passed on to this process's stderr.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        try:
            process = subprocess.Popen(  # noqa: S603
                command, stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
            )
        except OSError as error:
            raise ServerProcessError(f"the server cannot be started: {error}") from None
        try:
            yield _wait_until_ready(process, start_timeout_s)
            _stop(process, stop_timeout_s)
        except StepstreamError as error:
            if isinstance(error, ServerProcessError) or process.poll() is not None:
                log.seek(0)
                shutil.copyfileobj(log, sys.stderr)
            raise
        finally:
            _end(process, stop_timeout_s)


def _wait_until_ready(process: subprocess.Popen[str], timeout_s: float) -> ServerProcess:
    assert process.stdout is not None
    output = _Output(process.stdout)
    output.settled.wait(timeout_s)
    if output.ready is not None:
        metrics_address, address = output.ready.groups()
        return ServerProcess(process.pid, address, metrics_address)
    if output.settled.is_set():
        raise ServerProcessError(f"the server exited with status {process.wait()} before it was ready")
    raise ServerProcessError(f"the server was not ready after {timeout_s:.0f} s")


class _Output:
    """Reads all that the server prints, so that it never waits for a full pipe.

    settled is set once the ready line was read, and ready with it, or once the output ended.
    """

    def __init__(self, stdout: IO[str]) -> None:
        self.settled = threading.Event()
        self.ready: re.Match[str] | None = None
        threading.Thread(target=self._read, args=(stdout,), daemon=True).start()

    def _read(self, stdout: IO[str]) -> None:
        with stdout:
            for line in stdout:
                if self.ready is None and (ready := READY_LINE.fullmatch(line)):
                    self.ready = ready
                    self.settled.set()
        self.settled.set()


def _stop(process: subprocess.Popen[str], timeout_s: float) -> None:
    status = process.poll()
    if status is not None:
        raise ServerProcessError(f"the server exited with status {status} while it was needed")
    process.terminate()
    try:
        status = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        raise ServerProcessError(f"the server did not stop within {timeout_s:.0f} s") from None
    if status != 0:
        raise ServerProcessError(f"the server exited with status {status} when asked to stop")


def _end(process: subprocess.Popen[str], timeout_s: float) -> None:
    """Leave no child behind, whatever happened in the block."""
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
