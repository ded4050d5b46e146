"""An engine with every image, and the servers up behind their proxy."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.engine import Engine, running_engine
from tests.containers.stand_ins import make_all

SERVERS = ("stepstream", "envoy", "prometheus")


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """With stand-ins for the images of others, and ours built. CONTAINERS_FOLDER keeps them for the next time."""
    with (
        tempfile.TemporaryDirectory(prefix="engine") as folder,
        running_engine(Path(os.environ.get("CONTAINERS_FOLDER", folder))) as engine,
    ):
        make_all(engine)
        engine.compose("build", "stepstream")
        yield engine


@pytest.fixture(scope="module")
def address(engine: Engine) -> Iterator[str]:
    """HOST:PORT of the proxy; everything is up."""
    with engine.up(*SERVERS):
        yield engine.address
