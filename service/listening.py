"""Notices that a port takes no connections any more. gRPC closes the socket by itself when accept(2) fails in a way
that it does not know, and goes on serving the connections that it has: nobody new would ever reach the server."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

OWN_DESCRIPTORS = Path("/dev/fd")
LOOK_S = 0.25
"""Between two looks at the sockets."""


@dataclass(frozen=True)
class Listener:
    """A socket of this process: its descriptor and inode, since descriptors are given again."""

    descriptor: int
    inode: int

    @property
    def is_open(self) -> bool:
        """Whether it takes connections."""
        with suppress(OSError):
            return os.fstat(self.descriptor).st_ino == self.inode and _port(self.descriptor) is not None
        return False


def listeners(port: int) -> list[Listener]:
    """The sockets of this process that take connections on a TCP port."""
    found = []
    for descriptor in [int(place.name) for place in OWN_DESCRIPTORS.iterdir()]:
        with suppress(OSError):
            if _port(descriptor) == port:
                found.append(Listener(descriptor, os.fstat(descriptor).st_ino))
    return found


async def until_closed(watched: Sequence[Listener]) -> None:
    """Until one of them takes no connections any more."""
    while True:
        if not all(one.is_open for one in watched):
            return
        await asyncio.sleep(LOOK_S)


def _port(descriptor: int) -> int | None:
    """Where a socket listens; None where it does not or is none. Raises OSError for what is not open. It takes no
    descriptor of its own: a process that has none left still listens."""
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return None
    borrowed = socket.socket(fileno=descriptor)
    try:
        if borrowed.family not in (socket.AF_INET, socket.AF_INET6):
            return None
        if not borrowed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return None
        port: int = borrowed.getsockname()[1]
        return port
    finally:
        borrowed.detach()
