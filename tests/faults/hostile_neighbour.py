"""A neighbour that does everything hostile to the server at HOST:PORT, one thing after another, until it is stopped.

All the time it also holds streams that it never reads and connections that never say hello. It says when it begins.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys

from h2.exceptions import ProtocolError

from tests.faults.attacks import ATTACKS, closed_windows
from tests.faults.http2 import PREFACE

NUM_SILENT = 16


def main(address: str) -> None:
    """Until SIGTERM."""
    os.nice(19)  # it shares the machine with the server, as no neighbour does
    host, _, port = address.rpartition(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(NUM_SILENT)]
    for peer in silent:
        peer.sendall(PREFACE[: len(PREFACE) // 2])
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    while True:
        unread = closed_windows(address)
        for attack in ATTACKS.values():
            with contextlib.suppress(OSError, ProtocolError):
                attack(address)
        unread.close()


if __name__ == "__main__":
    main(sys.argv[1])
