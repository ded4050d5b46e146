"""A real server, in a process of its own, on the store that ships and on the same models in fp32."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from export.publish import publish
from service.client.server_process import SERVE_COMMAND, running_server
from service.model.bundle import read_manifest
from service.model.manifest import Manifest
from service.model.store import list_versions

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data" / "multi30k"
PATIENT = ("--max-queue-wait-s", "600")
"""Nothing is refused for how long it would wait, which says little where tests share the cores."""
IN_FP32 = ("en-de-transformer", "en-de-general", "en-de-hard", "en-de-local-p")


def read_sentences(language: str) -> list[str]:
    return gzip.decompress((DATA / f"test_2016_flickr.{language}.gz").read_bytes()).decode().splitlines()


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    """The 1,000 English captions of test_2016_flickr."""
    return read_sentences("en")


@pytest.fixture(scope="session")
def references() -> list[str]:
    """Their German translations."""
    return read_sentences("de")


@pytest.fixture(scope="session")
def shipped_store() -> Path:
    return ROOT / "model_store"


@pytest.fixture(scope="session")
def manifests(shipped_store: Path) -> dict[str, Manifest]:
    """What the shipped versions say of themselves, by model."""
    return {stored.name: read_manifest(stored.folder) for stored in list_versions(shipped_store)}


@pytest.fixture(scope="session")
def fp32_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One shipped checkpoint of each kind, exported again in fp32."""
    store = tmp_path_factory.mktemp("fp32_store")
    for name in IN_FP32:
        publish(ROOT / "export" / "checkpoints" / name, model_store=store, name=name, precision="fp32")
    return store


@pytest.fixture(scope="session")
def shipped_server(shipped_store: Path) -> Iterator[str]:
    """HOST:PORT of a server on the shipped store."""
    with running_server((*SERVE_COMMAND, "--model-store", str(shipped_store), *PATIENT)) as address:
        yield address


@pytest.fixture(scope="session")
def fp32_server(fp32_store: Path) -> Iterator[str]:
    """HOST:PORT of a server on the fp32 store."""
    with running_server((*SERVE_COMMAND, "--model-store", str(fp32_store), *PATIENT)) as address:
        yield address


@pytest.fixture(scope="session")
def python() -> str:
    return sys.executable
