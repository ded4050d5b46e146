"""Real proxies before replicas: Envoy and HAProxy with the files that are shipped, nginx with the least that passes
gRPC on."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from hostile.envoy import NoEnvoyError, running_envoy
from hostile.ports import free_port
from tests.faults.replicas import LIMIT_S, Replica

HAPROXY_CONFIG = Path(__file__).parents[2] / "deploy" / "haproxy.cfg"
NGINX_CONFIG = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream replicas {{ {servers} }}
    server {{
        listen {listen} http2;
        location / {{
            grpc_pass grpc://replicas;
            grpc_read_timeout 120s;
            error_page 502 503 504 = /unavailable;
        }}
        location = /unavailable {{
            internal;
            default_type application/grpc;
            add_header grpc-status 14;
            add_header grpc-message "the replica was lost";
            return 204;
        }}
    }}
}}
"""


@contextmanager
def running_proxy(name: str, replicas: Sequence[Replica], folder: Path) -> Iterator[str]:
    """HOST:PORT of a proxy before replicas, which knows them all; skips the test where it is not installed."""
    with ExitStack() as stack:
        if name == "haproxy":
            yield stack.enter_context(running_haproxy(replicas))
        elif name == "nginx":
            yield stack.enter_context(running_nginx(replicas, folder))
        else:
            addresses = [replica.address for replica in replicas]
            try:
                envoy = stack.enter_context(running_envoy(addresses, folder))
            except NoEnvoyError as error:
                pytest.skip(str(error))
            envoy.wait_until_healthy(*addresses)
            yield envoy.address


@contextmanager
def running_haproxy(replicas: Sequence[Replica]) -> Iterator[str]:
    """HOST:PORT of HAProxy before two replicas; skips the test where it is not installed."""
    address = f"127.0.0.1:{free_port()}"
    environment = {"STEPSTREAM_BIND": address}
    for number, replica in enumerate(replicas, 1):
        environment[f"STEPSTREAM_REPLICA_{number}"] = replica.address
        environment[f"STEPSTREAM_READY_{number}"] = str(replica.watch_port)
    with _running([_program("haproxy"), "-db", "-f", str(HAPROXY_CONFIG)], address, environment):
        yield address


@contextmanager
def running_nginx(replicas: Sequence[Replica], folder: Path) -> Iterator[str]:
    """HOST:PORT of nginx before replicas; skips the test where it is not installed. Its files go to folder."""
    address = f"127.0.0.1:{free_port()}"
    servers = " ".join(f"server {replica.address} max_fails=0;" for replica in replicas)
    config = folder / "nginx.conf"
    config.write_text(NGINX_CONFIG.format(folder=folder, servers=servers, listen=address))
    with _running([_program("nginx"), "-p", str(folder), "-c", str(config)], address, {}):
        yield address


def _program(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


@contextmanager
def _running(command: Sequence[str], address: str, environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.PIPE, text=True)
    try:
        _wait_until_open(address, process)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=LIMIT_S)


def _wait_until_open(address: str, process: subprocess.Popen[str]) -> None:
    host, _, port = address.rpartition(":")
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()[1]
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"nothing listens on {address}")
