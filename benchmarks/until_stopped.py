"""What every server to measure does once its methods are known."""

from __future__ import annotations

import asyncio
import signal

import grpc.aio


async def serve_until_stopped(server: grpc.aio.Server, *, metrics_address: str | None = None) -> None:
    """On a free port, whose address is printed when the server is ready, until SIGTERM."""
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    metrics = f"metrics on {metrics_address}, " if metrics_address else ""
    print(f"stepstream: {metrics}serving on 127.0.0.1:{port}", flush=True)
    await stop.wait()
    await server.stop(0)
