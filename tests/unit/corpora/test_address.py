"""A cluster's address is tried before Ray is asked for it."""

from __future__ import annotations

import socket

import pytest

from service.corpora.address import require_listening
from service.corpora.errors import CorpusError


def test_nothing_that_listens_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        require_listening(address)
    with pytest.raises(CorpusError, match=f"nothing listens at {address}: Connection refused"):
        require_listening(address)


@pytest.mark.parametrize("address", ["auto", ":6379", "head:", "head:x", "head:65536"])
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(CorpusError, match="is not HOST:PORT"):
        require_listening(address)
