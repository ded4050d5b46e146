"""HTTP for machines that watch: /metrics for Prometheus, /livez and /readyz for whoever restarts or routes.

A thread serves each connection, and the number of connections is bounded: a new one takes the place of the one that has
said nothing for longest, so that clients which hold connections open keep nobody from asking.
"""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

TEXT = "text/plain; charset=utf-8"
MAX_CONNECTIONS = 64
REQUEST_S = 5.0
"""Seconds in which a request must have come and its answer have gone."""
METRICS_S = 0.1
"""Seconds for which the same text of metrics is given, so that whoever asks without end costs little."""
NO_DESCRIPTORS_S = 0.05
"""Seconds to wait where the process has no file descriptor left for a connection."""


class WatchServer:
    """Serves on threads of its own. `start` and `stop` once each."""

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        *,
        is_live: Callable[[], bool],
        is_ready: Callable[[], bool],
    ) -> None:
        """is_live and is_ready are asked on any thread. Raises OSError where the port cannot be had."""
        metrics = _Metrics(registry)

        class Handler(_Handler):
            def answer(self, path: str) -> tuple[int, bytes, str]:
                match path:
                    case "/metrics":
                        return 200, metrics.text(), CONTENT_TYPE_LATEST
                    case "/livez":
                        return (200, b"live\n", TEXT) if is_live() else (503, b"not live\n", TEXT)
                    case "/readyz":
                        return (200, b"ready\n", TEXT) if is_ready() else (503, b"not ready\n", TEXT)
                    case _:
                        return 404, b"not found\n", TEXT

        self._server = _Server((host, port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="web", daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        port: int = self._server.server_address[1]
        return port

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Metrics:
    """One text for all who ask within METRICS_S."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._made_at = float("-inf")
        self._text = b""

    def text(self) -> bytes:
        with self._lock:
            if time.monotonic() - self._made_at >= METRICS_S:
                self._text, self._made_at = generate_latest(self._registry), time.monotonic()
            return self._text


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, float] = {}  # with when each came, oldest first
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                time.sleep(NO_DESCRIPTORS_S)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            if len(self._connections) >= MAX_CONNECTIONS:
                self._cut_off(next(iter(self._connections)))
            self._connections[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Every half second, and after every connection."""
        too_old = time.monotonic() - REQUEST_S
        with self._lock:
            for connection in [one for one, came_at in self._connections.items() if came_at < too_old]:
                self._cut_off(connection)

    def _cut_off(self, connection: socket.socket) -> None:
        """End what its thread waits for; the thread closes it."""
        del self._connections[connection]
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # its client has

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle concerns nobody."""


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_S
    server_version = "stepstream"
    sys_version = ""
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = TEXT

    def answer(self, path: str) -> tuple[int, bytes, str]:
        """Status, body and content type."""
        raise AssertionError(path)

    def do_GET(self) -> None:
        self._send(with_body=True)

    def do_HEAD(self) -> None:
        self._send(with_body=False)

    def _send(self, *, with_body: bool) -> None:
        status, body, content_type = self.answer(urlsplit(self.path).path)
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """With the standard's words: those of the library repeat what was asked."""
        super().send_error(code)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Probes come every few seconds; they are not logged."""
