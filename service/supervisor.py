"""Several server processes behind one port: for light models, whose messages one Python process cannot make any faster.

The kernel divides connections, not requests, among the processes (SO_REUSEPORT), so that it takes several connections
to use them all. Each process has its own models, rows and queue. One that ends takes the others with it, so that
whoever runs the server starts all of them again.
"""

from __future__ import annotations

import asyncio
import http.client
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from service import server
from service.model.errors import ModelError
from service.settings import Settings
from service.web import WatchServer

LOCALHOST = "127.0.0.1"
PROBE_TIMEOUT_S = 2.0
LAST_EXIT_S = 10.0
"""Seconds beyond the grace time after which a process that has not ended is killed."""


def run(settings: Settings) -> int:
    """Serve in as many processes as the settings say until SIGTERM or SIGINT; the exit status. Raises ModelError."""
    if settings.num_processes == 1:
        return server.run(settings)
    try:
        return asyncio.run(_supervise(settings))
    except OSError as error:
        raise ModelError(str(error)) from error


async def _supervise(settings: Settings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server.require_free_port(settings.metrics_host, settings.metrics_port)
    with _reserved_port(settings.host, settings.port) as port:
        own = settings.model_copy(update={"port": port, "metrics_host": LOCALHOST, "metrics_port": 0, "admin_port": 0})
        children = [_Child(own) for _ in range(settings.num_processes)]
        stopping = asyncio.create_task(_wait(stop))
        ends = [asyncio.create_task(child.ended()) for child in children]
        ready = asyncio.create_task(_all_ready(children))
        web: WatchServer | None = None
        try:
            await asyncio.wait({ready, stopping, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if ready.done() and ready.result():
                web = _watch(settings, children)
                server.announce(settings.host, port, metrics_host=settings.metrics_host, metrics_port=web.port)
                await asyncio.wait({stopping, *ends}, return_when=asyncio.FIRST_COMPLETED)
            was_asked = stop.is_set()
        finally:
            ready.cancel()
            for child in children:
                child.terminate()
            _, left = await asyncio.wait(ends, timeout=settings.grace_s + LAST_EXIT_S)
            for child in children:
                child.kill()
            stopping.cancel()
            if web is not None:
                await asyncio.to_thread(web.stop)
    return 0 if was_asked and not left and not any(child.status for child in children) else 1


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def _all_ready(children: Iterable[_Child]) -> bool:
    return all(await asyncio.gather(*(child.ready() for child in children)))


class _Child:
    """One server process; it ends when this one does."""

    def __init__(self, settings: Settings) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(target=_serve, args=(settings, theirs))
        self._process.start()
        theirs.close()
        self.metrics_port = 0

    @property
    def status(self) -> int | None:
        return self._process.exitcode

    async def ready(self) -> bool:
        """Whether it has come to serve; False where it has ended before."""
        await _readable(self._connection.fileno())
        try:
            self.metrics_port = self._connection.recv()
        except EOFError:
            return False
        return True

    async def ended(self) -> None:
        await _readable(self._process.sentinel)
        self._process.join()

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        """Leave nothing of it behind."""
        self._process.kill()
        self._process.join()
        self._connection.close()

    def says(self, path: str) -> bool:
        """Whether it answers a question over HTTP with yes."""
        try:
            self.get(path)
        except OSError:
            return False
        return True

    def get(self, path: str) -> str:
        """What it answers over HTTP; raises OSError."""
        connection = http.client.HTTPConnection(LOCALHOST, self.metrics_port, timeout=PROBE_TIMEOUT_S)
        with closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            text = response.read().decode()
        if response.status != http.HTTPStatus.OK:
            raise OSError(f"{path} answers {response.status}")
        return text


def _serve(settings: Settings, connection: Connection) -> None:
    """A child's whole life. It leads a process group of its own, so that Ctrl-C reaches it through its parent alone."""
    os.setpgrp()
    try:
        status = server.run(
            settings,
            shares_port=True,
            on_ready=lambda started: connection.send(started.metrics_port),
            parent=connection.fileno(),
        )
    except ModelError as error:
        sys.stderr.write(f"stepstream: {error}\n")
        status = 1
    sys.exit(status)


async def _readable(descriptor: int) -> None:
    """Return once a file descriptor has something to read, its end included."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)


@contextmanager
def _reserved_port(host: str, port: int) -> Iterator[int]:
    """The port, or a free one for 0, which only the processes of this server can listen on. Raises OSError."""
    server.require_free_port(host, port)
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_STREAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(address)
        yield held.getsockname()[1]


def _watch(settings: Settings, children: Sequence[_Child]) -> WatchServer:
    registry = CollectorRegistry()
    registry.register(_AllMetrics(children))
    web = WatchServer(
        settings.metrics_host,
        settings.metrics_port,
        registry,
        is_live=lambda: all(child.says("/livez") for child in children),
        is_ready=lambda: all(child.says("/readyz") for child in children),
    )
    web.start()
    return web


class _AllMetrics(Collector):
    """The metrics of every process, told apart by the label `process`."""

    def __init__(self, children: Iterable[_Child]) -> None:
        self._children = tuple(children)

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for number, child in enumerate(self._children):
            for family in text_string_to_metric_families(child.get("/metrics")):
                whole = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    whole.add_sample(sample.name, {"process": str(number), **sample.labels}, sample.value)
        return families.values()
