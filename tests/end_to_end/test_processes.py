"""Several processes behind one port, as a client and an operator see them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.client.client import Client
from service.client.server_process import SERVE_COMMAND

MODEL = "en-de-transformer"
SENTENCE = "A man in a blue shirt is standing on a ladder cleaning a window."
PROCESSES = ("--num-processes", "2")


@pytest.fixture(scope="module")
def small_store(shipped_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("store")
    shutil.copytree(shipped_store / MODEL, store / MODEL)
    return store


@contextmanager
def started(store: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The first process and HOST:PORT."""
    command = (*SERVE_COMMAND, "--model-store", str(store), *PROCESSES, *flags)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        with process.stdout:
            yield process, process.stdout.readline().split()[-1]
    finally:
        process.kill()
        process.wait()


def children(process: subprocess.Popen[str]) -> list[int]:
    """The server processes of a supervisor."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    pids = [int(pid) for pid in listed if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(pids) == 2
    return pids


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 60
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def translate(address: str) -> str:
    with Client(address) as client:
        return client.translate([SENTENCE], model=MODEL)[0].text


def test_connections_are_divided_among_the_processes_and_every_one_gives_the_same(small_store: Path) -> None:
    with started(small_store, "--metrics-port", "18402") as (process, address):
        num_calls = 0
        ones_asked: set[str] = set()
        while len(ones_asked) < 2:
            num_calls += 1
            assert num_calls < 100
            assert translate(address) == translate(address)
            metrics = urllib.request.urlopen("http://127.0.0.1:18402/metrics").read().decode()
            counted = r'stepstream_requests_total\{code="OK",method="Translate",process="(\d)"\} (\d+)'
            ones_asked = {number for number, _ in re.findall(counted, metrics)}
        assert sum(int(count) for _, count in re.findall(counted, metrics)) == 2 * num_calls
        process.terminate()
        assert process.wait(60) == 0


def test_what_runs_is_finished_when_all_are_told_to_stop(small_store: Path) -> None:
    with started(small_store) as (process, address), Client(address) as client:
        pids = children(process)
        stream = client.stream(SENTENCE, model=MODEL)
        next(stream)
        process.terminate()
        assert len(list(stream)) > 5
        assert process.wait(60) == 0
        assert not any(map(is_running, pids))


def test_one_that_dies_takes_the_others_with_it_and_the_status_is_1(small_store: Path) -> None:
    with started(small_store) as (process, _):
        first, *others = children(process)
        os.kill(first, signal.SIGKILL)
        assert process.wait(60) == 1
        assert not any(map(is_running, others))


def test_they_end_with_a_supervisor_that_is_killed(small_store: Path) -> None:
    with started(small_store) as (process, _):
        pids = children(process)
        process.kill()
        process.wait()
        wait_until_gone(pids)


@pytest.mark.parametrize("flags", [(), PROCESSES])
def test_no_other_server_gets_their_port(small_store: Path, flags: tuple[str, ...]) -> None:
    with started(small_store) as (process, address):
        port = address.rpartition(":")[2]
        command = (*SERVE_COMMAND, "--model-store", str(small_store), "--port", port, *flags)
        refused = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert refused.returncode == 1
        assert f"cannot listen on 127.0.0.1:{port}" in refused.stderr
        assert translate(address)
        process.terminate()
        assert process.wait(60) == 0


def test_a_store_that_cannot_be_served_is_refused_with_the_reason(tmp_path: Path) -> None:
    command = (*SERVE_COMMAND, "--model-store", str(tmp_path), *PROCESSES)
    refused = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert refused.returncode == 1
    assert "has no model" in refused.stderr
