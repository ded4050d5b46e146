"""The HTTP port answers probes whatever other clients do to it."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from prometheus_client import CollectorRegistry, Counter

from service.web import MAX_CONNECTIONS, WatchServer
from tests.faults.watched import ask, wait_until


@pytest.fixture
def port() -> Iterator[int]:
    registry = CollectorRegistry()
    Counter("things", "Things", registry=registry)
    server = WatchServer("127.0.0.1", 0, registry, is_live=lambda: True, is_ready=lambda: True)
    server.start()
    yield server.port
    server.stop()


def say(port: int, data: bytes) -> bytes:
    """All that is answered until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(data)
        answer = b""
        try:
            while received := connection.recv(65536):
                answer += received
        except ConnectionResetError:
            pass
        return answer


@pytest.mark.fault(28)
def test_connections_that_say_nothing_keep_no_probe_from_its_answer(port: int) -> None:
    """A thousand connections are held open with half a request each: every probe is answered, threads are bounded."""
    num_threads = threading.active_count()
    with ExitStack() as stack:
        for number in range(1000):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            connection.sendall(b"GET /livez HTTP/1.1\r\nX: ")
            if number % 50 == 0:
                assert ask(port, "/livez") == (200, "live\n")
                assert threading.active_count() <= num_threads + 2 * MAX_CONNECTIONS
        assert ask(port, "/readyz") == (200, "ready\n")
        wait_until(lambda: threading.active_count() <= num_threads + MAX_CONNECTIONS)
    wait_until(lambda: threading.active_count() <= num_threads + 1)


@pytest.mark.fault(28)
def test_a_request_that_drips_is_cut_off(port: int) -> None:
    """A byte at a time, each in good time, for ever: the connection is ended after some seconds."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.settimeout(0.5)
        for _ in range(120):
            try:
                connection.sendall(b"G")
                if connection.recv(1) == b"":
                    return
            except TimeoutError:
                continue
            except OSError:
                return
    raise AssertionError("the connection is still open")


@pytest.mark.fault(35)
def test_a_process_without_a_file_descriptor_left_waits_for_one_without_haste(port: int) -> None:
    """Connections come while no descriptor is left: the accepting thread does not spin, and they are answered once
    there are some."""
    with ExitStack() as stack:
        callers = [stack.enter_context(socket.socket()) for _ in range(20)]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(caller.fileno() for caller in callers) + 1, hard))
        try:
            for caller in callers:
                caller.connect(("127.0.0.1", port))
                caller.sendall(b"GET /livez HTTP/1.1\r\n\r\n")
            cpu_s = time.process_time()
            time.sleep(3)
            assert time.process_time() - cpu_s < 0.1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for caller in callers:
            caller.settimeout(60)
            assert caller.recv(12) == b"HTTP/1.0 200"


def test_large_requests_and_other_methods_are_refused(port: int) -> None:
    """A line of 1 MB, ten thousand header lines, POST, and bytes that are no HTTP: an error each, and the next probe is
    answered."""
    assert b" 414 " in say(port, b"GET /" + b"x" * 2**20 + b" HTTP/1.1\r\n\r\n")[:20]
    assert b" 431 " in say(port, b"GET /livez HTTP/1.1\r\n" + b"A: b\r\n" * 10_000 + b"\r\n")[:20]
    assert b" 501 " in say(port, b"POST /metrics HTTP/1.1\r\nContent-Length: 1\r\n\r\nx")[:20]
    assert b"400" in say(port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n")
    assert ask(port, "/livez") == (200, "live\n")


def test_no_answer_repeats_what_was_asked(port: int) -> None:
    """Unknown paths and methods with a secret in them: the secret is in no answer."""
    for request in (
        b"GET /secret HTTP/1.1\r\n\r\n",
        b"GET /livez?secret HTTP/1.1\r\n\r\n",
        b"SECRET / HTTP/1.1\r\n\r\n",
    ):
        answer = say(port, request)
        assert answer.startswith(b"HTTP/1.0 ")
        assert b"secret" not in answer.lower()
