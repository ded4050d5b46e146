"""`stepstream translate-corpus` on a Ray cluster that is there already, by its address: a head and a second node."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from hostile.ports import free_port
from service.corpora.arguments import NEEDED
from service.corpora.cluster import QUIET
from tests.end_to_end.test_corpora import LIMIT_S, descendants, is_running, started, translated, wait_until

RAY_START = (sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats")
EACH = ("--num-cpus", "1", "--min-worker-port", "40000", "--max-worker-port", "49999")
"""By default workers have ports among which that of the head may be."""
NUM_LINES = 120

pytestmark = pytest.mark.skipif(
    any(find_spec(name) is None for name in NEEDED), reason="the extra `corpora` is not installed"
)


@contextmanager
def node(folder: Path, *arguments: str) -> Iterator[int]:
    """A node of one processor, of which nothing is left at the end; its process."""
    with (folder / f"{len(list(folder.iterdir()))}.log").open("wb") as log:
        process = subprocess.Popen([*RAY_START, *EACH, *arguments], stdout=log, stderr=log, env=os.environ | QUIET)
    try:
        wait_until(lambda: process.poll() is not None or b"Ray runtime started" in Path(log.name).read_bytes())
        assert process.poll() is None, Path(log.name).read_text()
        yield process.pid
    finally:
        left = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        process.wait(LIMIT_S)
        for each in filter(is_running, left):
            os.kill(each, signal.SIGKILL)
        wait_until(lambda: not any(map(is_running, left)))


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[str, tuple[int, int]]]:
    """The address of two nodes, and their processes."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    # in a folder with a short name: a socket's path has 107 bytes at most
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        ports = ("--port", str(port), "--ray-client-server-port", str(free_port()))
        head = ("--head", *ports, "--include-dashboard", "false", "--temp-dir", f"{folder}/r")
        with node(folder, *head) as first, node(folder, "--address", address) as second:
            yield address, (first, second)
    wait_until(lambda: not listens(port))


def test_a_corpus_is_translated_on_all_nodes_of_a_cluster_which_goes_on(
    tmp_path: Path, sentences: list[str], shipped_store: Path, cluster: tuple[str, tuple[int, int]]
) -> None:
    address, nodes = cluster
    source = tmp_path / "in.txt"
    source.write_text("".join(f"{sentence}\n" for sentence in sentences[:NUM_LINES]))
    flags = ("--shard-lines", 5, "--ray-address", address)
    with started(source, tmp_path / "out", shipped_store, *flags) as run:
        run.wait_for_shards(1)
        wait_until(lambda: all(has_worker(each) for each in nodes) or run.process.poll() is not None)
        status, output, errors = run.end()
        assert (status, errors) == (0, "")
        assert f"{NUM_LINES} lines in {NUM_LINES // 5} shards" in output
    with started(source, tmp_path / "alone", shipped_store, "--shard-lines", 50) as run:
        assert run.end()[0] == 0
    assert translated(tmp_path / "out") == translated(tmp_path / "alone")
    assert all(map(is_running, nodes)), "the cluster is not the command's to stop"


def has_worker(process: int) -> bool:
    return any("ShardWorker" in name for name in descendants(process).values())


@pytest.mark.parametrize(
    ("address", "reason"),
    [("127.0.0.1:1", "nothing listens at 127.0.0.1:1: Connection refused"), ("head", "'head' is not HOST:PORT")],
)
def test_an_address_without_a_cluster_is_told_at_once(
    tmp_path: Path, shipped_store: Path, address: str, reason: str
) -> None:
    source = tmp_path / "in.txt"
    source.write_text("Two dogs play.\n")
    with started(source, tmp_path / "out", shipped_store, "--ray-address", address) as run:
        assert run.end() == (1, "", f"stepstream: {reason}\n")
