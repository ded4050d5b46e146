"""The page's server for as long as a block runs, on a thread of its own."""

from __future__ import annotations

import asyncio
import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from service.client.credentials import Credentials
from service.client.web.serving import PageServer, WebOptions

LIMIT_S = 60.0


@contextmanager
def page_server(
    address: str, *, metrics_address: str = "127.0.0.1:1", credentials: Credentials | None = None, **options: Any
) -> Iterator[PageServer]:
    """Relays to `address`; nobody answers at the metrics_address unless one is given."""
    chosen = WebOptions(address, (metrics_address,), "127.0.0.1", 0, **options)
    server = PageServer(chosen, credentials or Credentials())
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=LIMIT_S)
        connection.request("GET", "/")
        connection.getresponse().read()
        connection.close()
        yield server
    finally:
        server.stop()
        thread.join()
