"""What clients and operators see when the server is full, fails, or stops."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service import server as server_module
from service.client.client import AsyncClient, Client
from service.client.errors import OverloadedError, ServerError, ServerUnreachableError
from service.client.server_process import SERVE_COMMAND, running_server
from service.model.slots import Slots
from service.settings import Settings

MODEL = "en-de-transformer"
SENTENCE = "A man in a blue shirt is standing on a ladder cleaning a window."
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


async def test_a_full_queue_is_refused_and_what_was_accepted_is_served(shipped_store: Path) -> None:
    limits = ("--max-slots", "1", "--max-queue-length", "4")
    with running_server((*SERVE_COMMAND, "--model-store", str(shipped_store), *limits)) as address:
        async with AsyncClient(address) as client:
            calls = (client.translate([SENTENCE], model=MODEL) for _ in range(40))
            results = await asyncio.gather(*calls, return_exceptions=True)
            served = [result for result in results if isinstance(result, list)]
            refused = [result for result in results if isinstance(result, OverloadedError)]
            assert len(served) >= 5
            assert refused
            assert len(served) + len(refused) == 40
            assert len({result[0].text for result in served}) == 1


def test_health_can_be_watched(shipped_server: str) -> None:
    with grpc.insecure_channel(shipped_server) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=MODEL), timeout=10)
        assert next(watch).status == SERVING
        watch.cancel()


class Running:
    """A server in this process, whose decoder steps a test may slow or break."""

    def __init__(self, task: asyncio.Task[int], address: str) -> None:
        self.task = task
        self.address = address
        self.step_s = 0.0
        self.fault: Exception | None = None


@pytest.fixture
async def running(
    shipped_store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[Running]:
    real_step = Slots.step

    def step(slots: Slots) -> Any:
        time.sleep(running.step_s)
        if running.fault:
            raise running.fault
        return real_step(slots)

    monkeypatch.setattr(Slots, "step", step)
    settings = Settings(port=0, metrics_port=0, admin_port=0, model_store=shipped_store, verify_certificates=False)
    task = asyncio.create_task(server_module._serve(settings))
    output = ""
    async with asyncio.timeout(30):
        while not (ready := re.search(r"serving on (\S+)", output)):
            await asyncio.sleep(0.05)
            output += capsys.readouterr().out
    running = Running(task, ready.group(1))
    yield running
    if not task.done():
        signal.raise_signal(signal.SIGTERM)
    await task


async def test_a_stopping_server_says_so_while_it_finishes_what_runs(running: Running) -> None:
    running.step_s = 0.05
    async with AsyncClient(running.address) as client, grpc.aio.insecure_channel(running.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        stream = client.stream(SENTENCE, model=MODEL)
        await anext(stream)
        signal.raise_signal(signal.SIGTERM)
        assert (await watch.read()).status == NOT_SERVING
        assert (await health.Check(health_pb2.HealthCheckRequest(service=MODEL))).status == NOT_SERVING
        with pytest.raises(ServerUnreachableError, match="stopping"):
            await client.translate([SENTENCE], model=MODEL)
        events = [event async for event in stream]
        assert len(events) > 10
        stopped_at = time.monotonic()
        assert await running.task == 0
        assert time.monotonic() - stopped_at < 10


async def test_a_failed_engine_ends_its_requests_and_the_process_with_1(running: Running) -> None:
    running.step_s = 0.02
    async with AsyncClient(running.address) as client:
        stream = client.stream(SENTENCE, model=MODEL)
        await anext(stream)
        running.fault = RuntimeError("secret: the graph failed")
        with pytest.raises(ServerUnreachableError) as raised:
            [event async for event in stream]
        assert "secret" not in str(raised.value)
    async with asyncio.timeout(20):
        assert await running.task == 1


async def test_an_unforeseen_error_tells_the_client_nothing_of_the_inside(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.registry.Registry.find", lambda *_: 1 / 0)
    async with AsyncClient(running.address) as client:
        with pytest.raises(ServerError) as raised:
            await client.translate([SENTENCE], model=MODEL)
    assert "internal error" in str(raised.value)
    assert "zero" not in str(raised.value)


def test_a_server_that_is_stopped_while_it_starts_never_says_that_it_serves(shipped_store: Path) -> None:
    command = (*SERVE_COMMAND, "--model-store", str(shipped_store))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "model loaded" in process.stderr.readline()
    process.terminate()
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "serving" not in output


def test_a_dead_server_is_one_clear_error(shipped_store: Path) -> None:
    with running_server((*SERVE_COMMAND, "--model-store", str(shipped_store))) as address:
        pass
    with Client(address) as client, pytest.raises(ServerUnreachableError, match="no server answers"):
        client.list_models()
