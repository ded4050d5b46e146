"""Real servers to abuse, and a client beside them that must not notice."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.client.server_process import ServerProcess, server_process
from tests.faults.commands import MODEL, command
from tests.faults.victim import Victim

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one shipped model, which a server loads in no time."""
    store = tmp_path_factory.mktemp("small_store")
    shutil.copytree(ROOT / "model_store" / MODEL, store / MODEL)
    return store


@pytest.fixture(scope="session")
def abused_server(small_store: Path) -> Iterator[ServerProcess]:
    """Serves with its default settings, and is asked at the end whether it has lived all the time."""
    with server_process(command(small_store)) as server:
        yield server


@pytest.fixture(scope="session")
def slow_server(small_store: Path) -> Iterator[ServerProcess]:
    """Two rows and a step of 20 ms: a translation lasts long enough for anything to happen to it."""
    with server_process(command(small_store, "--max-slots", "2", alterations=("step_s=0.02",))) as server:
        yield server


@pytest.fixture
def victim(abused_server: ServerProcess) -> Iterator[Victim]:
    """Streams from the abused server for as long as the test runs; fails it at the first error or changed byte."""
    with Victim(abused_server.address) as victim:
        yield victim
