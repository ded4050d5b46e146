"""The smallest real models, published once for all tests."""

from pathlib import Path

import pytest

from hostile.soak import management
from hostile.store import publish_tiny

BROKEN = Path(__file__).parent / "broken"


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every version that the soak needs."""
    store = tmp_path_factory.mktemp("store")
    for version in management.VERSIONS:
        publish_tiny(store, version=version)
    return store


@pytest.fixture
def broken() -> Path:
    """Files that break a server, each in one way."""
    return BROKEN
