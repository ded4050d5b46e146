"""Replicas with the settings of docker-compose.yml that say how a server ends, each at an address that it keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from hostile.ports import free_port
from hostile.server import ServerProcess

COMPOSE = Path(__file__).parents[2] / "docker-compose.yml"
ENDING = ("STEPSTREAM_DRAIN_DELAY_S", "STEPSTREAM_GRACE_S")


def ending_flags(compose: Path = COMPOSE) -> tuple[str, ...]:
    """`--drain-delay-s` and `--grace-s`, as the compose file sets them."""
    environment = yaml.safe_load(compose.read_text(encoding="utf-8"))["services"]["stepstream"]["environment"]
    flags = [(name.removeprefix("STEPSTREAM_").lower().replace("_", "-"), environment[name]) for name in ENDING]
    return tuple(part for flag, value in flags for part in (f"--{flag}", value))


class Replica:
    """One server after the other at one address."""

    def __init__(self, store: Path, log: Path, flags: Sequence[str]) -> None:
        self._store, self._log = store, log
        self._port = free_port()
        self._flags = (*flags, "--port", str(self._port))
        self.address = f"127.0.0.1:{self._port}"
        self.server = self._make()

    def start(self) -> None:
        """A new server, ready. Raises ServerLostError."""
        self.server = self._make()
        self.server.start()

    def _make(self) -> ServerProcess:
        return ServerProcess(self._store, self._log, self._flags)


@contextmanager
def running_replicas(number: int, store: Path, folder: Path) -> Iterator[list[Replica]]:
    """That many, ready, for as long as the block runs; their logs are in the folder."""
    flags = ending_flags()
    with ExitStack() as stack:
        replicas = []
        for index in range(number):
            replica = Replica(store, folder / f"replica-{index}.log", flags)
            replica.start()
            stack.callback(lambda replica=replica: replica.server.kill())
            replicas.append(replica)
        yield replicas
