"""Promise 9: a server that is told to stop says so, completes what runs within its grace time, and always ends."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from service.client.client import Client
from service.client.server_process import READY_LINE, ServerProcess
from service.engine.runner import Runner
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceStub
from service.server import Server
from service.settings import Settings
from tests.faults.altered_server import LOADING
from tests.faults.commands import LIMIT_S, MODEL, NUM_TOKENS, SENTENCE, command, long_request, short_request, until

SLOW = ("step_s=0.02",)
"""Four seconds for a long translation, or as long as the machine takes."""


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], ServerProcess]]:
    """A server that the block stops in its own way."""
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        ready = READY_LINE.fullmatch(process.stdout.readline())
        assert ready is not None
        metrics_address, address = ready.groups()
        yield process, ServerProcess(process.pid, address, metrics_address)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def is_ready(server: ServerProcess) -> bool:
    try:
        with urllib.request.urlopen(f"http://{server.metrics_address}/readyz", timeout=LIMIT_S) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False


@pytest.mark.fault(56)
def test_under_load_new_calls_are_refused_and_running_ones_end(small_store: Path) -> None:
    """SIGTERM under load: not ready, new calls get UNAVAILABLE, what runs is completed, and the exit status is 0."""
    with started(*command(small_store, alterations=SLOW)) as (process, server):
        with grpc.insecure_channel(server.address) as channel:
            stub = TranslationServiceStub(channel)
            running = [stub.StreamTranslate(long_request()) for _ in range(8)]
            for call in running:
                next(call)
            process.send_signal(signal.SIGTERM)
            until(lambda: not is_ready(server))
            with pytest.raises(grpc.RpcError) as raised:
                stub.Translate(pb.TranslateRequest(model=MODEL, texts=[SENTENCE]), timeout=LIMIT_S)
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
            assert [len(list(call)) for call in running] == [NUM_TOKENS - 1] * 8
        assert process.wait(LIMIT_S) == 0


@pytest.mark.fault(56)
def test_what_still_runs_after_the_grace_time_is_cut_off(small_store: Path) -> None:
    """A translation longer than the grace time: UNAVAILABLE, never OK, and the exit status is 0."""
    with started(*command(small_store, "--grace-s", "0.5", alterations=SLOW)) as (process, server):
        with grpc.insecure_channel(server.address) as channel:
            call = TranslationServiceStub(channel).StreamTranslate(long_request())
            next(call)
            process.send_signal(signal.SIGTERM)
            with pytest.raises(grpc.RpcError) as raised:
                list(call)
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert process.wait(LIMIT_S) == 0


@pytest.mark.fault(56)
def test_within_the_drain_delay_a_server_is_not_ready_and_still_serves(small_store: Path) -> None:
    """SIGTERM behind a load balancer: readiness is false first, and whoever has not seen it yet is served."""
    with started(*command(small_store, "--drain-delay-s", "5")) as (process, server):
        with Client(server.address) as client:
            client.translate([SENTENCE], model=MODEL, timeout_s=LIMIT_S)
            process.send_signal(signal.SIGTERM)
            until(lambda: not is_ready(server))
            assert client.translate([SENTENCE], model=MODEL, timeout_s=LIMIT_S)
        assert process.wait(LIMIT_S) == 0


@pytest.mark.fault(57)
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_process_at_once(small_store: Path, second: signal.Signals) -> None:
    """A second signal while translations run: the process ends at once with 128 + the signal's number."""
    with (
        started(*command(small_store, "--grace-s", "600", alterations=("step_s=2",))) as (process, server),
        grpc.insecure_channel(server.address) as channel,
    ):
        call = TranslationServiceStub(channel).StreamTranslate(long_request())
        next(call)
        process.send_signal(signal.SIGTERM)
        until(lambda: not is_ready(server))
        process.send_signal(second)
        assert process.wait(LIMIT_S) == 128 + second
        with pytest.raises(grpc.RpcError):
            list(call)


@pytest.mark.fault(57)
def test_a_thread_that_hangs_does_not_keep_the_process(small_store: Path) -> None:
    """A model that never comes, as from a dead disk: SIGTERM ends the process all the same, with status 1."""
    alterations = ("load_s=1000", "service.server:LAST_THREADS_S=1")
    arguments = command(small_store, "--grace-s", "0.5", alterations=alterations)
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == f"{LOADING}\n"
        process.send_signal(signal.SIGTERM)
        output, log = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    assert "serving" not in output
    assert "Timeout" in log  # and where every thread was


@pytest.mark.parametrize("method", ["Translate", "StreamTranslate", "TranslateInteractive"])
async def test_every_stream_is_released_when_a_server_stops_in_the_middle(
    small_store: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_step = Runner.step

    def slow_step(runner: Runner) -> Any:
        time.sleep(0.05)
        return real_step(runner)

    monkeypatch.setattr(Runner, "step", slow_step)
    settings = Settings(port=0, metrics_port=0, model_store=small_store, verify_certificates=False, grace_s=0.01)
    server = Server(settings)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = TranslationServiceStub(channel)
        if method == "TranslateInteractive":
            call = stub.TranslateInteractive()
            await call.write(pb.TranslateInteractiveRequest(start=short_request()))
            await call.read()
        elif method == "StreamTranslate":
            call = stub.StreamTranslate(long_request())
            await call.read()
        else:
            call = stub.Translate(pb.TranslateRequest(model=MODEL, texts=[SENTENCE] * 1000))
            while not server._calls._running:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await server.stop()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await last_of(call)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def last_of(call: Any) -> None:
    """Take all that the server has sent."""
    async with asyncio.timeout(LIMIT_S):
        if isinstance(call, grpc.aio.UnaryUnaryCall):
            await call
        else:
            while await call.read() is not grpc.aio.EOF:
                pass
