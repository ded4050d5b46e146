"""A real server in this process, on a real socket, whose inside a test may break; and streams to compare."""

from __future__ import annotations

import asyncio
import io
import re
import shutil
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from service import server as server_module
from service.client.client import AsyncClient
from service.client.options import GREEDY, DecodingOptions, Sampling
from service.client.types import Completion, StreamEvent
from service.model.slots import Slots
from service.settings import Settings

ROOT = Path(__file__).parents[2]
TRANSFORMER, RECURRENT = "en-de-transformer", "en-de-general"
VICTIM = "Two dogs run across the grass while a young boy in a red shirt throws a ball to them."
NEIGHBOURS = (
    ("A man in a blue shirt is standing on a ladder cleaning a window.", GREEDY),
    ("A woman plays the guitar on a small stage.", DecodingOptions(beam_size=4, num_hypotheses=2)),
    ("Several people wait for a train at night.", DecodingOptions(sampling=Sampling(temperature=0.9), seed=7)),
    ("A little girl climbs into a wooden playhouse.", GREEDY),
)
LONG_S = 60.0
"""Far more than anything here takes."""
PATIENT_S = 0.4
Hook = Callable[[Slots], None]


class Running:
    """step_s: seconds that every step takes longer; until a source of the awaited length is there they take PATIENT_S
    longer, so that it finds its neighbours under way. before_step: what a test does to the rows."""

    def __init__(self) -> None:
        self.address = ""
        self.http = ""
        self.task: asyncio.Task[int]
        self.logs: list[Any] = []
        self.step_s = 0.0
        self.awaited: int | None = None
        self.before_step: Hook = lambda _: None

    async def is_ready(self) -> bool:
        return await asyncio.to_thread(self._is_ready)

    async def metric(self, name: str, model: str) -> float:
        """The value of one of a model's counters."""
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(f"{self.http}/metrics").read().decode())
        (value,) = re.findall(rf'^{name}{{model="{model}",version="1"}} (\S+)$', text, re.MULTILINE)
        return float(value)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.http}/readyz") as response:
                return response.status == 200
        except urllib.error.HTTPError as error:
            error.close()
            return False


@asynccontextmanager
async def serving(monkeypatch: pytest.MonkeyPatch, store: Path, **settings: Any) -> AsyncIterator[Running]:
    """Serves the two models; ends the server where the test has not."""
    for name in (TRANSFORMER, RECURRENT):
        shutil.copytree(ROOT / "model_store" / name, store / name)
    running = Running()
    real_step = Slots.step

    def step(slots: Slots) -> Any:
        if running.awaited is not None and rows_with(slots, running.awaited):
            running.awaited = None
        time.sleep(running.step_s if running.awaited is None else PATIENT_S)
        running.before_step(slots)
        return real_step(slots)

    monkeypatch.setattr(Slots, "step", step)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    running.http = f"http://127.0.0.1:{port}"
    output = io.StringIO()
    all_settings = Settings(port=0, metrics_port=port, model_store=store, verify_certificates=False, **settings)
    with capture_logs() as running.logs:
        with redirect_stdout(output):
            running.task = asyncio.create_task(server_module._serve(all_settings))
            async with asyncio.timeout(LONG_S):
                while not (ready := re.search(r"serving on (\S+)", output.getvalue())):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        running.address = ready.group(1)
        try:
            yield running
        finally:
            if not running.task.done():
                signal.raise_signal(signal.SIGTERM)
            async with asyncio.timeout(LONG_S):
                await running.task


async def stream(
    client: AsyncClient,
    text: str,
    model: str,
    options: DecodingOptions = GREEDY,
    *,
    started: asyncio.Event | None = None,
) -> list[StreamEvent]:
    """Every event of a stream, but for its timings; started is set with the first one."""
    events: list[StreamEvent] = []
    async for event in client.stream(text, model=model, options=options, include_attention=True):
        if started is not None:
            started.set()
        events.append(replace(event, timings=None) if isinstance(event, Completion) else event)
    return events


async def begin_neighbours(client: AsyncClient, model: str) -> list[asyncio.Task[list[StreamEvent]]]:
    """Streams of every kind of search, all under way."""
    starts = [asyncio.Event() for _ in NEIGHBOURS]
    tasks = [
        asyncio.create_task(stream(client, text, model, options, started=started))
        for (text, options), started in zip(NEIGHBOURS, starts, strict=True)
    ]
    async with asyncio.timeout(LONG_S):
        await asyncio.gather(*(started.wait() for started in starts))
    return tasks


def rows_with(slots: Slots, source_length: int) -> list[int]:
    """The rows of sources of one length."""
    (rows,) = np.nonzero(slots._source_lengths[: slots.num_rows] == source_length)
    return rows.tolist()
