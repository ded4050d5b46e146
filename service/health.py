"""Keeps what health checks are told true to the engines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio

LOOK_S = 0.25
"""Between two looks at the engines."""


class HealthTeller:
    """Tells health of each service, whenever that changes."""

    def __init__(self, servicer: aio.HealthServicer, services: Callable[[], dict[str, bool]]) -> None:
        """services: whether each is healthy; one that is not there any more is not."""
        self._servicer = servicer
        self._services = services
        self._told: dict[str, bool] = {}

    async def tell(self) -> None:
        """What has changed since the last time."""
        status = health_pb2.HealthCheckResponse
        for name, is_healthy in (dict.fromkeys(self._told, False) | self._services()).items():
            if self._told.get(name) != is_healthy:
                self._told[name] = is_healthy
                await self._servicer.set(name, status.SERVING if is_healthy else status.NOT_SERVING)

    async def follow(self) -> None:
        """`tell` for ever."""
        while True:
            await self.tell()
            await asyncio.sleep(LOOK_S)
