"""Ends a connection from beneath gRPC, which has no way to: by its socket, as if the client had ended it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import unquote

from service.listening import OWN_DESCRIPTORS


def end_connection(peer: str) -> bool:
    """End the connection of a peer, `ipv4:1.2.3.4:5` or `ipv6:[::1]:5` as gRPC names it, and all calls on it; False
    where this process has none."""
    ended = False
    for descriptor in [int(place.name) for place in OWN_DESCRIPTORS.iterdir()]:
        with suppress(OSError), _borrowed(descriptor) as connection:
            if _peer_of(connection) == unquote(peer):
                connection.shutdown(socket.SHUT_RDWR)
                ended = True
    return ended


@contextmanager
def _borrowed(descriptor: int) -> Iterator[socket.socket]:
    """The socket of a descriptor, which may be closed and given to another file meanwhile; raises OSError where it is
    none."""
    own = os.dup(descriptor)
    try:
        connection = socket.socket(fileno=own)
        try:
            yield connection
        finally:
            connection.detach()
    finally:
        os.close(own)


def _peer_of(connection: socket.socket) -> str:
    """As gRPC names it, empty of what is no connection over TCP; raises OSError where nobody is at its other end."""
    if connection.family == socket.AF_INET:
        host, port = connection.getpeername()
        return f"ipv4:{host}:{port}"
    if connection.family == socket.AF_INET6:
        host, port, *_ = connection.getpeername()
        mapped = host.removeprefix("::ffff:")
        return f"ipv4:{mapped}:{port}" if mapped != host else f"ipv6:[{host}]:{port}"
    return ""
