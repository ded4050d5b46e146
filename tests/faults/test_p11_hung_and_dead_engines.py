"""Promise 11: an engine that hangs or is dead is noticed, health and its streams hear of it, and the process ends."""

from __future__ import annotations

import asyncio
import ctypes
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.client.client import AsyncClient, Client
from service.client.errors import ServerUnreachableError
from service.engine.engine import Engine
from service.model.slots import Slots
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceStub
from tests.faults.in_process import (
    LONG_S,
    NEIGHBOURS,
    PATIENT_S,
    RECURRENT,
    ROOT,
    TRANSFORMER,
    VICTIM,
    Running,
    begin_neighbours,
    serving,
    stream,
)

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
BUDGET_S = 3.0


@pytest.fixture
async def running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(monkeypatch, tmp_path, step_timeout_s=BUDGET_S, num_workers=1) as running:
        yield running


def of_model(slots: Slots, model: str) -> bool:
    return slots._manifest.name == model


async def status_changes(address: str, service: str) -> AsyncIterator[int]:
    async with grpc.aio.insecure_channel(address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=service))
        async for response in watch:
            yield response.status


@pytest.mark.fault(48)
async def test_a_step_that_hangs_ends_its_requests_and_the_engine_goes_on_once(running: Running) -> None:
    """A step takes longer than its budget: its streams get UNAVAILABLE with a pushback, another model's go on, health
    says NOT_SERVING until it is over, the next request is served; at the second such step the process ends with 1."""
    hangs: list[float] = [BUDGET_S * 1.4]

    def hang_once(slots: Slots) -> None:
        if of_model(slots, TRANSFORMER) and slots._positions[: slots.num_rows].max() >= 3 and hangs:
            time.sleep(hangs.pop())

    async with AsyncClient(running.address) as client, grpc.aio.insecure_channel(running.address) as channel:
        undisturbed = [await stream(client, text, RECURRENT, options) for text, options in NEIGHBOURS]
        ever = await stream(client, VICTIM, TRANSFORMER)
        health = status_changes(running.address, TRANSFORMER)
        assert await anext(health) == SERVING
        running.step_s = PATIENT_S
        others = await begin_neighbours(client, RECURRENT)
        running.step_s = 0.0
        running.before_step = hang_once
        request = pb.StreamTranslateRequest(text=VICTIM, model=TRANSFORMER)
        call = TranslationServiceStub(channel).StreamTranslate(request)
        async with asyncio.timeout(LONG_S):
            assert await anext(health) == NOT_SERVING
            assert not await running.is_ready()
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                [message async for message in call]
            assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
            assert dict(raised.value.trailing_metadata() or ())["grpc-retry-pushback-ms"] == "1000"
            assert await anext(health) == SERVING
            assert await asyncio.gather(*others) == undisturbed
        assert await running.metric("stepstream_terminated_steps_total", TRANSFORMER) == 1.0
        assert await stream(client, VICTIM, TRANSFORMER) == ever
        assert await running.is_ready()
        hangs.append(BUDGET_S * 1.4)
        with pytest.raises(ServerUnreachableError):
            await stream(client, VICTIM, TRANSFORMER)
        async with asyncio.timeout(LONG_S):
            assert await running.task == 1
        await health.aclose()


@pytest.mark.fault(61)
@pytest.mark.parametrize("fault", [SystemExit(3), KeyboardInterrupt(), MemoryError("secret"), RuntimeError("secret")])
async def test_an_engine_that_dies_ends_everything_at_once(running: Running, fault: BaseException) -> None:
    """The engine's thread meets what it cannot survive: its streams get UNAVAILABLE, health says NOT_SERVING, readiness
    is false, the process ends with 1."""

    def die(slots: Slots) -> None:
        raise fault

    async with AsyncClient(running.address) as client:
        health = status_changes(running.address, TRANSFORMER)
        assert await anext(health) == SERVING
        running.step_s = PATIENT_S
        neighbours = await begin_neighbours(client, TRANSFORMER)
        running.before_step = die
        async with asyncio.timeout(LONG_S):
            assert await anext(health) == NOT_SERVING
            results = await asyncio.gather(*neighbours, return_exceptions=True)
        assert all(isinstance(result, ServerUnreachableError) for result in results)
        assert not any("secret" in str(result) for result in results)
        async with asyncio.timeout(LONG_S):
            assert await running.task == 1
        await health.aclose()


@pytest.mark.fault(61)
async def test_an_idle_engine_whose_thread_is_killed_is_noticed(running: Running) -> None:
    """SystemExit is thrown into the thread of an engine while it has nothing to do: readiness is false and the process
    ends with 1, though nobody asks anything of that engine."""
    (thread,) = [thread for thread in threading.enumerate() if thread.name.startswith(TRANSFORMER)]
    async with AsyncClient(running.address) as client:
        text, options = NEIGHBOURS[0]
        await stream(client, text, TRANSFORMER, options)
        assert await running.is_ready()
        assert thread.ident is not None
        assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
        # An exception that is thrown into a thread is raised when it next runs Python.
        results = await asyncio.gather(stream(client, text, TRANSFORMER, options), return_exceptions=True)
        assert isinstance(results[0], ServerUnreachableError)
    async with asyncio.timeout(LONG_S):
        assert await running.task == 1


@pytest.mark.fault(61)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_thread_that_is_gone_without_a_word_is_noticed(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread ends without telling anybody: the watchdog finds it gone, its streams get UNAVAILABLE, the process
    ends with 1."""
    real_fail = Engine.fail

    def fail(engine: Engine, error: BaseException) -> None:
        if threading.current_thread() is engine._thread:
            raise SystemExit
        real_fail(engine, error)

    def die(slots: Slots) -> None:
        raise SystemExit

    monkeypatch.setattr(Engine, "fail", fail)
    async with AsyncClient(running.address) as client:
        running.step_s = PATIENT_S
        neighbours = await begin_neighbours(client, TRANSFORMER)
        running.before_step = die
        async with asyncio.timeout(LONG_S):
            results = await asyncio.gather(*neighbours, return_exceptions=True)
            assert all(isinstance(result, ServerUnreachableError) for result in results)
            assert await running.task == 1


@pytest.mark.fault(61)
async def test_health_stays_true_under_load(running: Running) -> None:
    """A hundred streams at once, many more than rows: health and readiness never say anything but SERVING."""
    told: list[Any] = []

    async def watch() -> None:
        async for status in status_changes(running.address, ""):
            told.append(status)

    async def look() -> None:
        while True:
            told.append(await running.is_ready())
            await asyncio.sleep(0.2)

    async with AsyncClient(running.address) as client:
        watching = [asyncio.create_task(watch()), asyncio.create_task(look())]
        async with asyncio.timeout(LONG_S * 2):
            await asyncio.gather(*(stream(client, text, TRANSFORMER, options) for text, options in NEIGHBOURS * 25))
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    assert SERVING in told
    assert len(told) > 2
    assert all(told)
    assert NOT_SERVING not in told


HANGING_SERVER = """
import sys, time
from service.cli import main
from service.model.slots import Slots

real_step = Slots.step

def step(slots):
    if slots._positions[: slots.num_rows].max() >= 3:
        time.sleep(1000)
    return real_step(slots)

Slots.step = step
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.fault(48)
def test_a_step_that_never_ends_ends_the_process(tmp_path: Path) -> None:
    """A step does not end, whatever it is told: its stream gets UNAVAILABLE after twice the budget, and the process
    ends with 1 though that thread still hangs."""
    shutil.copytree(ROOT / "model_store" / TRANSFORMER, tmp_path / TRANSFORMER)
    options = ("--model-store", str(tmp_path), "--port", "0", "--metrics-port", "0", "--step-timeout-s", "1.5")
    command = (sys.executable, "-c", HANGING_SERVER, "serve", "--no-verify-certificates", *options)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        with Client(address) as client, pytest.raises(ServerUnreachableError):
            list(client.stream(VICTIM, model=TRANSFORMER))
        _, log = process.communicate(timeout=LONG_S)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 1
    assert "EngineHungError" in log
