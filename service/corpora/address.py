"""The address of a Ray cluster, before Ray is asked for it, which would look for minutes for one that is not there.

It knows nothing of Ray but that a cluster's head listens.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address

from service.corpora.errors import CorpusError

ANSWER_S = 5.0
ANYWHERE = ("192.0.2.1", 9)
"""Of documentation (RFC 5737): the way there leads through this machine's outer address, and nothing is sent."""


def require_listening(address: str) -> None:
    """Raises CorpusError for what is not HOST:PORT, and where nothing listens."""
    host, port = _parts(address)
    try:
        _connect(host, port)
    except OSError as error:
        raise CorpusError(f"nothing listens at {address}: {error.strerror or error}") from error


def is_on_loopback_alone(address: str) -> bool:
    """Whether a cluster on this machine is one that others cannot reach: Ray takes 127.0.0.1 for this machine's outer
    address, where such a cluster is not."""
    host, port = _parts(address)
    if not ip_address(socket.gethostbyname(host)).is_loopback:
        return False
    try:
        _connect(_own_address(), port)
    except OSError:
        return True
    return False


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise CorpusError(f"{address!r} is not HOST:PORT")
    return host, int(port)


def _connect(host: str, port: int) -> None:
    socket.create_connection((host, port), timeout=ANSWER_S).close()


def _own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as towards:
        towards.connect(ANYWHERE)
        address: str = towards.getsockname()[0]
    return address
