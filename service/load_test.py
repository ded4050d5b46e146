"""Streams of empty steps, at a given size and pace, for load tests of the transport. It knows no model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc.aio

from service.admission.pushback import RESTART_S, pushback_ms
from service.errors import QueueFullError
from service.pb import load_test_pb2 as pb
from service.pb import load_test_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

MAX_STREAMS = 4096
"""Streams of empty steps at once, of one process."""


class LoadTestServicer(pb_grpc.LoadTestServiceServicer):
    """stepstream.v1.LoadTestService."""

    def __init__(self, *, max_streams: int = MAX_STREAMS) -> None:
        self._max_streams = max_streams
        self._num_streams = 0

    async def StreamEmptySteps(  # noqa: N802
        self,
        request: pb.StreamEmptyStepsRequest,
        context: Context,  # noqa: ARG002
    ) -> AsyncIterator[pb.StreamEmptyStepsResponse]:
        payload = bytes(request.step_bytes)
        with self._counted():
            start = time.monotonic()
            for index in range(request.num_steps):
                if request.steps_per_second:
                    await asyncio.sleep(start + index / request.steps_per_second - time.monotonic())
                yield pb.StreamEmptyStepsResponse(index=index, payload=payload)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """One stream more, for as long as the block runs; raises QueueFullError where there are too many."""
        if self._num_streams >= self._max_streams:
            raise QueueFullError(
                "{number} load-test streams run already, and no more are taken at once",
                number=self._num_streams,
                pushback_ms=pushback_ms(RESTART_S),
            )
        self._num_streams += 1
        try:
            yield
        finally:
            self._num_streams -= 1
