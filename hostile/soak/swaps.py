"""Versions that come and go while others serve, where the server has model management."""

from __future__ import annotations

import random
from importlib import import_module
from typing import Any

import grpc.aio

from hostile.soak import management
from hostile.soak.jobs import LONG_S
from hostile.soak.world import World
from hostile.texts import MODEL

SERVICE = "/stepstream.v1.ModelManagementService"
EXPECTED = frozenset({"OK", "NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION"})
"""What loading what is loaded, and unloading what is not, may be called."""


async def swap(world: World, order: random.Random) -> None:
    """Loads another version of the model, or unloads it."""
    admin = world.replicas.steady.server.admin_address
    if not management.IS_THERE or admin is None:
        world.book.statuses["model swap"]["left out: no model management"] += 1
        return
    method = order.choice(("LoadModel", "UnloadModel"))
    request = _message(f"{method}Request", model=MODEL, version=management.SWAPPED)
    async with grpc.aio.insecure_channel(admin) as channel:
        make: Any = channel.unary_unary
        try:
            await make(f"{SERVICE}/{method}")(request.SerializeToString(), timeout=LONG_S)
            status = "OK"
        except grpc.aio.AioRpcError as error:
            status = error.code().name
    world.book.statuses["model swap"][f"{method} {status}"] += 1
    if status not in EXPECTED:
        world.book.break_promise("unexpected", f"{method} ends with {status}")


def _message(name: str, **fields: object) -> Any:
    return getattr(import_module("service.pb.management_pb2"), name)(**fields)
