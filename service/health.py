"""Keeps what health checks are told true to the engines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio

LOOK_S = 0.25
"""Between two looks at the engines."""


async def follow_health(servicer: aio.HealthServicer, services: Callable[[], dict[str, bool]]) -> None:
    """Tell health what `services` says of each service, whenever that changes; for ever."""
    told: dict[str, bool] = {}
    while True:
        for name, is_healthy in services().items():
            if told.get(name) != is_healthy:
                told[name] = is_healthy
                status = health_pb2.HealthCheckResponse
                await servicer.set(name, status.SERVING if is_healthy else status.NOT_SERVING)
        await asyncio.sleep(LOOK_S)
