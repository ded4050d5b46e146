"""A server on the two models that the tests of requests and callers need, in a process of its own."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from service.client.server_process import SERVE_COMMAND
from service.model.bundle import read_manifest
from service.model.text import Texts, open_texts
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
    async with serving(store) as address:
        yield address


@pytest.fixture
async def inside_narrow(store: Path) -> AsyncIterator[str]:
    """The same, with four calls at most on one connection."""
    async with serving(store, max_concurrent_streams=4) as address:
        yield address


@asynccontextmanager
async def serving(store: Path, **settings: int) -> AsyncIterator[str]:
    server = Server(
        Settings(port=0, metrics_port=0, model_store=store, verify_certificates=False, grace_s=2.0, **settings)
    )
    await server.start()
    yield f"127.0.0.1:{server.port}"
    await server.stop()


@pytest.fixture(scope="session")
def texts(store: Path) -> Texts:
    """Of the model without masks."""
    folder = store / "en-de-transformer" / "1"
    return open_texts(read_manifest(folder), folder)


@pytest.fixture(scope="session")
def masked_texts(store: Path) -> Texts:
    """Of the model with masks."""
    folder = store / "en-ko-transformer" / "1"
    return open_texts(read_manifest(folder), folder)
