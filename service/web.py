"""HTTP for machines that watch: /metrics for Prometheus, /live and /ready for whoever restarts or routes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

TEXT = "text/plain; charset=utf-8"


class WatchServer:
    """Serves on a thread of its own. `start` and `stop` once each."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry, is_ready: Callable[[], bool]) -> None:
        """Raises OSError where the port cannot be had."""

        class Handler(_Handler):
            def answer(self, path: str) -> tuple[int, bytes, str]:
                match path:
                    case "/metrics":
                        return 200, generate_latest(registry), CONTENT_TYPE_LATEST
                    case "/live":
                        return 200, b"live\n", TEXT
                    case "/ready":
                        return (200, b"ready\n", TEXT) if is_ready() else (503, b"not ready\n", TEXT)
                    case _:
                        return 404, b"not found\n", TEXT

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that goes away in the middle concerns nobody."""

        self._server = Server((host, port), Handler)
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


class _Handler(BaseHTTPRequestHandler):
    timeout = 5.0  # seconds that a client may take for its request
    server_version = "stepstream"
    sys_version = ""

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

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Probes come every few seconds; they are not logged."""
