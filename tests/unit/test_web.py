from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter

from service.web import WatchServer


class Readiness:
    def __init__(self) -> None:
        self.ready = False
        self.live = True


@pytest.fixture
def readiness() -> Readiness:
    return Readiness()


@pytest.fixture
def port(readiness: Readiness) -> Iterator[int]:
    registry = CollectorRegistry()
    Counter("things", "Things", registry=registry).inc(3)
    server = WatchServer("127.0.0.1", 0, registry, is_live=lambda: readiness.live, is_ready=lambda: readiness.ready)
    server.start()
    yield server.port
    server.stop()


def ask(port: int, path: str, method: str = "GET") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, body, response.getheader("Server") or ""


def test_readiness_and_liveness_follow_the_server_and_not_each_other(port: int, readiness: Readiness) -> None:
    assert ask(port, "/readyz")[0] == 503
    assert ask(port, "/livez")[0] == 200
    readiness.ready = True
    assert ask(port, "/readyz?verbose=1")[0] == 200
    readiness.live = False
    assert ask(port, "/livez")[0] == 503
    assert ask(port, "/readyz")[0] == 200


def test_metrics_are_in_the_format_of_prometheus(port: int) -> None:
    status, body, server = ask(port, "/metrics")
    assert status == 200
    assert "things_total 3.0" in body.splitlines()
    assert "Python" not in server


def test_head_has_no_body_and_other_paths_are_not_found(port: int) -> None:
    assert ask(port, "/livez", "HEAD")[:2] == (200, "")
    assert ask(port, "/../etc/passwd")[0] == 404


def test_a_client_that_goes_away_leaves_no_trace(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert ask(port, "/livez")[0] == 200
    assert capfd.readouterr().err == ""
