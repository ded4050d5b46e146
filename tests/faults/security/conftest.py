"""A server on the two models that the tests of requests and callers need, in a process of its own."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest

from service.client.server_process import SERVE_COMMAND
from service.server import Server
from service.settings import Settings
from tests.faults.security.servers import Started, started

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """en-de-transformer, and en-ko-transformer, which has masks."""
    folder = tmp_path_factory.mktemp("store")
    for name in ("en-de-transformer", "en-ko-transformer"):
        shutil.copytree(ROOT / "model_store" / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def serve(store: Path) -> tuple[str, ...]:
    """The command of a server on the store, to add flags to."""
    return (*SERVE_COMMAND, "--model-store", str(store), "--no-verify-certificates")


@pytest.fixture(scope="session")
def server(serve: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    with started(serve, tmp_path_factory.mktemp("log") / "log") as server:
        yield server


@pytest.fixture(scope="session")
def channel(server: Started) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture
async def inside(store: Path) -> AsyncIterator[str]:
    """HOST:PORT of a server in this process."""
    server = Server(Settings(port=0, metrics_port=0, model_store=store, verify_certificates=False, grace_s=2.0))
    await server.start()
    yield f"127.0.0.1:{server.port}"
    await server.stop()
