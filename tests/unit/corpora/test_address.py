"""A cluster's address is tried before Ray is asked for it."""

from __future__ import annotations

import socket

import pytest

from service.corpora.address import is_on_loopback_alone, require_listening
from service.corpora.errors import CorpusError


def listening(host: str) -> socket.socket:
    return socket.create_server((host, 0))


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_cluster_on_the_loopback_alone_is_told_from_one_that_others_can_reach(name: str) -> None:
    with listening("127.0.0.1") as alone, listening("") as reachable:
        for each in (alone, reachable):
            address = f"{name}:{each.getsockname()[1]}"
            require_listening(address)
            assert is_on_loopback_alone(address) is (each is alone)


def test_another_machine_is_not_this_one_s_loopback() -> None:
    assert not is_on_loopback_alone("192.0.2.7:6379")


def test_nothing_that_listens_is_told() -> None:
    with listening("127.0.0.1") as gone:
        address = f"127.0.0.1:{gone.getsockname()[1]}"
    with pytest.raises(CorpusError, match=f"nothing listens at {address}: Connection refused"):
        require_listening(address)


@pytest.mark.parametrize("address", ["auto", ":6379", "head:", "head:x", "head:65536"])
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(CorpusError, match="is not HOST:PORT"):
        require_listening(address)
