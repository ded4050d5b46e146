"""The page's server, from its start until somebody ends it. One file knows uvicorn."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import uvicorn

from service.client.addresses import target_of
from service.client.channel import CONNECT_TIMEOUT_S, channel_options, open_async_channel
from service.client.credentials import Credentials
from service.client.web.application import Application
from service.client.web.load import LoadMeter
from service.client.web.relay import MAX_STALL_S, Relay

MAX_CONNECTIONS = 256
MAX_HEADER_BYTES = 16 * 2**10
STOP_S = 2
"""Seconds that calls under way get when the server is ended."""
LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))


@dataclass(frozen=True)
class WebOptions:
    """address and metrics_addresses: of the servers that translate. host and port: where the page is served. server_url
    and allowed_hosts as of `Application`, max_stall_s as of `Relay`."""

    address: str
    metrics_addresses: Sequence[str]
    host: str
    port: int
    server_url: str = ""
    allowed_hosts: Sequence[str] = ()
    max_stall_s: float = MAX_STALL_S


class PageServer:
    """Listens from when it is made. Raises OSError where it cannot, and what `target_of` raises."""

    def __init__(self, options: WebOptions, credentials: Credentials) -> None:
        self._options = options
        self._credentials = credentials
        self._target = target_of(options.address)
        self._socket = _listen(options.host, options.port)
        self.port: int = self._socket.getsockname()[1]
        self._server: uvicorn.Server | None = None

    @property
    def url(self) -> str:
        """What a browser on this machine opens."""
        host = self._options.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def serve(self) -> None:
        """Until `stop`, SIGINT or SIGTERM."""
        target_options = [*channel_options(CONNECT_TIMEOUT_S), *self._target.options]
        channel = open_async_channel(self._target.name, target_options, self._credentials)
        async with channel:
            application = Application(
                Relay(channel, max_stall_s=self._options.max_stall_s),
                LoadMeter(self._options.metrics_addresses),
                server_url=self._options.server_url,
                names=self._names(),
            )
            self._server = uvicorn.Server(
                uvicorn.Config(
                    application,
                    http="h11",
                    ws="none",
                    lifespan="off",
                    interface="asgi3",
                    log_config=None,
                    access_log=False,
                    server_header=False,
                    proxy_headers=False,
                    limit_concurrency=MAX_CONNECTIONS,
                    h11_max_incomplete_event_size=MAX_HEADER_BYTES,
                    timeout_graceful_shutdown=STOP_S,
                )
            )
            await self._server.serve(sockets=[self._socket])

    def stop(self) -> None:
        """Let `serve` end. From the event loop's thread."""
        if self._server is not None:
            self._server.should_exit = True

    def _names(self) -> frozenset[str] | None:
        """On a loopback address a browser has loopback's names for this server, unless told of others; elsewhere only
        those that are told, if any are."""
        allowed = frozenset(name.lower() for name in self._options.allowed_hosts)
        if self._options.host in LOOPBACK:
            return LOOPBACK | allowed
        return allowed | {self._options.host} if allowed else None


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise OSError(error.errno, reason, f"{host}:{port}") from None


def serve_page(options: WebOptions, credentials: Credentials) -> None:
    """Say where the page is, and serve it until somebody ends it."""
    server = PageServer(options, credentials)
    print(f"stepstream: the page is at {server.url}", flush=True)  # noqa: T201
    asyncio.run(server.serve())
