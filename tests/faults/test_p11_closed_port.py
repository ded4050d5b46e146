"""A server that nobody can reach any more says so and ends: whoever restarts servers then does."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from hostile.ports import free_port
from service.listening import OWN_DESCRIPTORS, listeners
from service.server import Server
from service.settings import Settings
from tests.faults.watched import copy_model

LIMIT_S = 10.0


async def test_a_port_that_grpc_has_closed_ends_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """accept(2) fails in a way that gRPC does not know, and it closes its socket: NOT_SERVING, and the process ends."""
    copy_model(tmp_path)
    monkeypatch.setenv("STEPSTREAM_ADMIN_PORT", str(free_port()))
    server = Server(Settings(model_store=tmp_path, host="127.0.0.1", port=0, metrics_port=free_port()))
    await server.start()
    try:
        await asyncio.sleep(1.0)
        assert server.is_ready
        num_open = len(list(OWN_DESCRIPTORS.iterdir()))
        watched = listeners(server.port)
        assert watched
        assert len(list(OWN_DESCRIPTORS.iterdir())) == num_open
        for one in watched:
            with socket.socket(fileno=os.dup(one.descriptor)) as duplicate:
                duplicate.shutdown(socket.SHUT_RDWR)
        await asyncio.wait_for(server.failed.wait(), LIMIT_S)
        assert not server.is_ready
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", server.port)
    finally:
        await server.stop()
