"""Connections that no gRPC client would make."""

from __future__ import annotations

import asyncio
import random

import h2.connection

from hostile.fuzz.frames import answers, conversation
from hostile.soak.world import World
from hostile.verdicts import told_internals

NUM_RESETS = 100


async def damage(world: World, order: random.Random) -> None:
    """A connection with damaged frames or bytes."""
    host, port = _place(world)
    for code, details in await answers(host, port, conversation(order)):
        world.book.statuses["damaged connection"][f"status {code}"] += 1
        if what := told_internals(details):
            world.book.break_promise("told", f"damaged connection: a status tells {what}: {details}")


async def reset_rapidly(world: World, order: random.Random) -> None:
    """Streams that are opened and reset at once (CVE-2023-44487)."""
    host, port = _place(world)
    reader, writer = await asyncio.open_connection(host, port)
    connection = h2.connection.H2Connection()
    connection.initiate_connection()
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", world.any_job(order).method.path),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]
    try:
        for number in range(NUM_RESETS):
            connection.send_headers(2 * number + 1, headers)
            connection.reset_stream(2 * number + 1)
        writer.write(connection.data_to_send())
        await asyncio.wait_for(reader.read(65536), 5.0)
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.transport.abort()
    world.book.statuses["rapid resets"]["reset"] += NUM_RESETS


def _place(world: World) -> tuple[str, int]:
    host, _, port = world.replicas.steady.server.address.rpartition(":")
    return host, int(port)
