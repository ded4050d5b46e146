"""A Docker-compatible socket where no Docker daemon runs: podman's, with its files in a folder of its own, so that
`docker compose` is real. For root on Debian; it needs no systemd and not every capability that Docker has.

Podman gives a network's name where compose looks for its id. Compose therefore takes every container that is up for one
that has changed: `up` needs --no-recreate and `run` --no-deps, which Docker does not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from hostile.ports import free_port

PROGRAMS = ("podman", "buildah", "runc", "iptables", "mmdebstrap", "docker", "docker-compose")
LIBRARIES = ("/usr/lib/podman/netavark", "/usr/lib/podman/aardvark-dns")
PATH = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"))
LIMIT_S = 900.0
ROOT = Path(__file__).parents[2]
OVERRIDE = "tests/containers/override.yml"
CONFIG = """
[containers]
default_ulimits = []
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[engine.runtimes]
runc = ["{folder}/runc"]
"""
RUNTIME = """#!/usr/bin/python3
# Limits of resources and of the out-of-memory killer cannot be raised in a container that has not the right to: runc
# would end there. Without them it starts.
import json, os, sys
from pathlib import Path
for argument, following in zip(sys.argv, sys.argv[1:] + [""]):
    if argument in ("--bundle", "-b") or argument.startswith("--bundle="):
        bundle = argument.partition("=")[2] or following
        path = Path(bundle) / "config.json"
        config = json.loads(path.read_text())
        config["process"].pop("rlimits", None)
        config["process"].pop("oomScoreAdj", None)
        path.write_text(json.dumps(config))
os.execv("/usr/bin/runc", ["runc", *sys.argv[1:]])
"""


def missing() -> list[str]:
    """What this machine lacks."""
    lacking = [program for program in PROGRAMS if shutil.which(program, path=PATH) is None]
    lacking += [library for library in LIBRARIES if not Path(library).exists()]
    return lacking + ([] if os.geteuid() == 0 else ["root"])


needs_an_engine = pytest.mark.skipif(bool(missing()), reason=f"not on this machine: {', '.join(missing())}")


class Engine:
    """podman, and what speaks to its socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stores = ("--root", str(folder / "store"), "--runroot", str(folder / "run"))
        self.environment: Mapping[str, str] = os.environ | {
            "PATH": PATH,
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "STORAGE_DRIVER": "vfs",
            "BUILDAH_ISOLATION": "chroot",
            "DOCKER_HOST": f"unix://{folder}/podman.sock",
            "DOCKER_BUILDKIT": "0",
            "COMPOSE_PROJECT_NAME": "stepstream-test",
            "COMPOSE_FILE": f"docker-compose.yml:{OVERRIDE}",
            "COMPOSE": "docker-compose",
            "TEST_PORT": str(free_port()),
            "PAGE_PORT": str(free_port()),
            "SECRETS": str(folder / "secrets"),
        }

    @property
    def address(self) -> str:
        """HOST:PORT of the proxy's port for gRPC."""
        return f"127.0.0.1:{self.environment['TEST_PORT']}"

    def podman(self, *arguments: str) -> str:
        """What a command of podman prints. Raises CalledProcessError."""
        return self.run("podman", *self.stores, *arguments)

    def buildah(self, *arguments: str) -> str:
        """As `podman`."""
        return self.run("buildah", *self.stores, *arguments).strip()

    def compose(self, *arguments: str) -> str:
        """As `podman`, of docker-compose with the project's file."""
        return self.run("docker-compose", *arguments)

    @contextmanager
    def up(self, *services: str, more: Sequence[str] = ()) -> Iterator[None]:
        """These services up and healthy for as long as the block runs; nothing of any service is left after it. more:
        further compose files."""
        files = [part for file in ("docker-compose.yml", *(more or (OVERRIDE,))) for part in ("--file", file)]
        try:
            self.compose(*files, "up", "--detach", "--wait", *services)
            yield
        finally:
            self.compose(*files, "--profile", "*", "down", "--volumes", "--timeout", "60")
            assert self.podman("ps", "--all", "--quiet") == ""

    def run(self, *command: str) -> str:
        """Raises CalledProcessError, whose notes have what the command printed."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=LIMIT_S, cwd=ROOT)
        try:
            done.check_returncode()
        except subprocess.CalledProcessError as error:
            error.add_note(done.stdout[-4000:] + done.stderr[-4000:])
            raise
        return done.stdout

    def service(self) -> subprocess.Popen[bytes]:
        """Listens on the socket until it is ended."""
        command = ["podman", *self.stores, "system", "service", "--time", "0", self.environment["DOCKER_HOST"]]
        with (self.folder / "podman.log").open("ab") as log:
            return subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    def probe(self, stopping: threading.Event) -> None:
        """Run every container's health check again and again: podman leaves that to systemd, which is not there."""
        while not stopping.wait(1.0):
            for container in self.podman("ps", "--quiet").split():
                subprocess.run(
                    ["podman", *self.stores, "healthcheck", "run", container], env=self.environment, capture_output=True
                )


@contextmanager
def running_engine(folder: Path) -> Iterator[Engine]:
    """An engine with images of its own, for as long as the block runs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "networks").mkdir(exist_ok=True)
    (folder / "containers.conf").write_text(CONFIG.format(folder=folder))
    (folder / "runc").write_text(RUNTIME)
    (folder / "runc").chmod(0o755)
    engine = Engine(folder)
    service = engine.service()
    stopping = threading.Event()
    probing = threading.Thread(target=engine.probe, args=(stopping,))
    probing.start()
    try:
        yield engine
    finally:
        stopping.set()
        probing.join()
        service.terminate()
        service.wait()
