"""Standard clients, fetched once into .venv/clients by the commands of the page, and a server for them."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from service.client.server_process import SERVE_COMMAND, running_server
from tests.clients.page import ADMIN, PUBLIC, ROOT, Block, blocks_of

LIMIT_S = 600.0


@dataclass(frozen=True)
class Served:
    """HOST:PORT of a server's port for everybody, and of its admin port."""

    address: str
    admin_address: str

    def run(self, block: Block) -> str:
        """What a block prints, against this server; fails where it does."""
        commands = block.commands.replace(PUBLIC, self.address).replace(ADMIN, self.admin_address)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    command = (*SERVE_COMMAND, "--model-store", str(ROOT / "model_store"), "--no-verify-certificates")
    with running_server((*command, "--admin-port", str(port))) as address:
        yield Served(address, f"127.0.0.1:{port}")


@pytest.fixture(scope="session")
def tritonclient(served: Served) -> Callable[[str], str]:
    """Runs a program with tritonclient: what it prints. The program finds the address where the page has it."""
    served.run(blocks_of("tritonclient")[0])

    def run(program: str) -> str:
        return served.run(Block(f".venv/clients/bin/python - <<'EOF'\n{program}\nEOF", ()))

    return run


def require(command: str, package: str) -> None:
    """Skips a test where a command is missing."""
    if shutil.which(command) is None:
        pytest.skip(f"{command} is not installed (Debian: {package})")
