"""Replicas with the settings of a compose file that say how a server ends, each at an address that it keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from hostile.ports import free_port
from hostile.server import ServerProcess

ENDING = ("STEPSTREAM_DRAIN_DELAY_S", "STEPSTREAM_GRACE_S")


def ending_flags(compose: Path) -> tuple[str, ...]:
    """`--drain-delay-s` and `--grace-s`, as the compose file sets them."""
    environment = yaml.safe_load(compose.read_text(encoding="utf-8"))["services"]["stepstream"]["environment"]
    flags = [(name.removeprefix("STEPSTREAM_").lower().replace("_", "-"), environment[name]) for name in ENDING]
    return tuple(part for flag, value in flags for part in (f"--{flag}", value))


class Replica:
    """One server after the other at one address; `server` is the newest."""

    server: ServerProcess

    def __init__(self, store: Path, log: Path, flags: Sequence[str]) -> None:
        self._store, self._log = store, log
        port = free_port()
        self._flags = (*flags, "--port", str(port))
        self.address = f"127.0.0.1:{port}"

    def start(self) -> None:
        """A new server, ready. Raises ServerLostError."""
        server = ServerProcess(self._store, self._log, self._flags)
        server.start()
        self.server = server


@contextmanager
def running_replicas(number: int, store: Path, folder: Path, compose: Path) -> Iterator[list[Replica]]:
    """That many, ready, for as long as the block runs; their logs are in the folder."""
    flags = ending_flags(compose)
    with ExitStack() as stack:
        replicas = []
        for index in range(number):
            replica = Replica(store, folder / f"replica-{index}.log", flags)
            replica.start()
            stack.callback(_end, replica)
            replicas.append(replica)
        yield replicas


def _end(replica: Replica) -> None:
    replica.server.kill()
