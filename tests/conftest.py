"""What holds for every test: no server is left holding anything, and the faults that tests play can be listed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.balance import KnownServers
from tests.fault_table import pytest_addoption, pytest_configure

__all__ = ["pytest_addoption", "pytest_configure"]

os.environ["STEPSTREAM_ADMIN_PORT"] = "0"  # servers of tests run side by side
os.environ["STEPSTREAM_ENGINE_NICENESS"] = "0"  # and share the cores with their clients
settings.register_profile("without a clock", deadline=None)
settings.load_profile("without a clock")


@pytest.fixture(scope="session", autouse=True)
def known_servers() -> Iterator[KnownServers]:
    """Every server that tests have started."""
    servers = KnownServers()
    with servers.known():
        yield servers


@pytest.fixture(autouse=True)
def _every_stream_is_released(known_servers: KnownServers) -> Iterator[None]:
    """After every test: streams opened are streams closed, no slot is taken, nobody waits."""
    yield
    known_servers.require_balance()
