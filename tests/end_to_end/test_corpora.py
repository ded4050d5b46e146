"""`stepstream translate-corpus` on Ray, as a user runs it: beside a real server, killed, stopped and resumed.

Ray runs in processes of the command alone, so that nothing of it is in the process of the tests.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from service.corpora.arguments import NEEDED

LIMIT_S = 240.0
CHOICE = ("--model", "en-de-transformer", "--beam-size", "4")
"""A beam, so that a run lasts for long enough to be killed in its middle."""
LOOPBACK = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")
"""127.0.0.1, ::1 and ::ffff:127.0.0.1 as /proc/net/tcp and tcp6 write them."""
LISTENING = "0A"
COMMAND = (sys.executable, "-m", "service.cli")

pytestmark = pytest.mark.skipif(
    any(find_spec(name) is None for name in NEEDED), reason="the extra `corpora` is not installed"
)


class Run:
    """One run of the command, in a session of its own, so that a signal can reach all of it as Ctrl-C does."""

    def __init__(self, source: Path, output: Path, store: Path, *flags: str | int) -> None:
        self.output = output
        self._manifest = output / "manifest.jsonl"
        arguments = ("translate-corpus", source, output, "--model-store", store, *CHOICE, *flags)
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def end(self) -> tuple[int, str, str]:
        """Status, stdout and stderr, once it has ended by itself."""
        output, errors = self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode, output, errors

    def wait_for_shards(self, number: int) -> None:
        """Until so many are done, and not all of the run."""
        wait_until(lambda: self.num_shards() >= number or self.process.poll() is not None)
        assert self.process.poll() is None, self.process.communicate()

    def num_shards(self) -> int:
        return self._manifest.read_bytes().count(b"\n") if self._manifest.exists() else 0

    def processes(self) -> dict[int, str]:
        """The command and all that it started: the names of its processes by their ids."""
        return descendants(self.process.pid)

    def workers(self) -> list[int]:
        """The processes that translate."""
        return [process for process, name in self.processes().items() if "ShardWorker" in name]


def descendants(process: int) -> dict[int, str]:
    """A process and all that it started: the names of the processes by their ids."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text()
            names[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ").strip()
        except OSError:
            continue
        parents[int(folder.name)] = int(status.rpartition(")")[2].split()[1])
    found = {process}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {number: names.get(number, "") for number in found}


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def listening_addresses(processes: dict[int, str]) -> set[str]:
    """Where the processes listen, as the kernel writes it."""
    sockets = set()
    for process in processes:
        for descriptor in Path(f"/proc/{process}/fd").glob("*"):
            try:
                sockets.add(str(descriptor.readlink()))
            except OSError:
                continue
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and f"socket:[{fields[9]}]" in sockets:
                addresses.add(fields[1].partition(":")[0])
    return addresses


@contextmanager
def started(*arguments: object) -> Iterator[Run]:
    """A run of which nothing is left at the end, however the test ends."""
    run = Run(*arguments)  # type: ignore[arg-type]
    try:
        yield run
    finally:
        left = run.processes()
        if run.process.poll() is None:
            run.process.kill()
        run.process.communicate()
        wait_until(lambda: not any(is_running(process) for process in left))


def translated(output: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(output.glob("part-*")))


def lines_of(output: Path) -> list[int]:
    """The number of each line that the manifest has, in the order of the shards."""
    records = sorted(map(json.loads, (output / "manifest.jsonl").read_text().splitlines()), key=lambda r: r["shard"])
    return [r["first_line"] + place for r in records for place in range(r["num_lines"])]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, sentences: list[str]) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "in.txt"
    path.write_text("".join(f"{sentence}\n" for sentence in [*sentences[:600], "", *sentences[600:]]))
    return path


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, corpus: Path, shipped_server: str) -> bytes:
    """What `stepstream translate` makes of the corpus through a server."""
    target = tmp_path_factory.mktemp("expected") / "out"
    command = [*COMMAND, "translate", "--file", corpus, "--output", target, *CHOICE, "--address", shipped_server]
    subprocess.run(command, check=True, timeout=LIMIT_S)
    return target.read_bytes()


def test_a_corpus_is_translated_as_by_a_server_on_this_machine_alone(
    tmp_path: Path, corpus: Path, expected: bytes, shipped_store: Path
) -> None:
    with started(corpus, tmp_path / "out", shipped_store, "--shard-lines", 90, "--workers", 2) as run:
        run.wait_for_shards(1)
        processes = run.processes()
        assert run.workers()
        assert len(listening_addresses(processes)) > 0
        assert listening_addresses(processes) <= set(LOOPBACK)
        status, output, errors = run.end()
        assert (status, errors) == (0, "")
        assert "1,001 lines in 12 shards" in output
        wait_until(lambda: not any(is_running(process) for process in processes))
    assert translated(tmp_path / "out") == expected
    assert lines_of(tmp_path / "out") == list(range(1, 1002))
    assert not list((tmp_path / "out" / "errors").iterdir())
    with started(corpus, tmp_path / "out", shipped_store, "--shard-lines", 90) as run:
        status, output, errors = run.end()
        assert (status, errors) == (0, "")
        assert "1,001 lines done before" in output
    with started(corpus, tmp_path / "out", shipped_store, "--shard-lines", 90, "--beam-size", 2) as run:
        status, output, errors = run.end()
        assert (status, output) == (1, "")
        assert "beam_size was 4, now it is 2" in errors


def test_a_run_that_is_killed_and_stopped_and_loses_a_worker_loses_and_repeats_no_line(
    tmp_path: Path, corpus: Path, expected: bytes, shipped_store: Path
) -> None:
    """The driver is killed, then everything gets Ctrl-C, then a worker is killed; each run goes on after the last."""
    output = tmp_path / "out"
    arguments = (corpus, output, shipped_store, "--shard-lines", 20, "--workers", 1)
    with started(*arguments) as run:
        run.wait_for_shards(2)
        left = run.processes()
        run.process.send_signal(signal.SIGKILL)
        wait_until(lambda: not any(is_running(process) for process in left))
    num_killed = run.num_shards()
    kept = {path: path.stat().st_mtime_ns for path in output.glob("part-*")}
    done = {output / json.loads(line)["file"] for line in (output / "manifest.jsonl").read_text().splitlines()}
    with started(*arguments) as run:
        run.wait_for_shards(num_killed + 2)
        left = run.processes()
        os.killpg(run.process.pid, signal.SIGINT)
        status, _, errors = run.end()
        assert status == 130, errors
        assert errors.endswith("stepstream: stopped; the same command goes on\n")
        wait_until(lambda: not any(is_running(process) for process in left))
    assert not list(output.glob(".*.unfinished"))
    num_stopped = run.num_shards()
    with started(*arguments) as run:
        run.wait_for_shards(num_stopped + 1)
        os.kill(run.workers()[0], signal.SIGKILL)
        status, summary, errors = run.end()
        assert status == 0, errors
        assert "lines done before" in summary
    assert translated(output) == expected
    assert lines_of(output) == list(range(1, 1002))
    assert all(path.stat().st_mtime_ns == kept[path] for path in done), "a shard was written twice"
