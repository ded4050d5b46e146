"""Promise 11: a run of onnxruntime that does not end is ended, and one that fails for good is told from one that fails
for its inputs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as onnxruntime_errors

from service.engine.engine import Engine
from service.engine.pool import EnginePool
from service.engine.request import Decoding
from service.engine.runner import Runner
from service.engine.scheduler import Limits
from service.engine.watchdog import EngineHungError, Heartbeat, Watchdog
from service.errors import EngineFailedError, StepTimeoutError
from service.model.culprits import run_apart
from service.model.errors import DeviceFailedError, InterruptedRunError, ProviderError
from service.model.interrupt import Interrupt, current_interrupt
from service.model.session import Bound, Session
from tests.faults.load import eventually
from tests.faults.looping import FOR_EVER, Loop, LoopingRows, write_loop
from tests.unit.engine.conftest import END_ID, RecordingObserver

LONG_S = 60.0
SOURCE = (*range(10, 30), END_ID)


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Loop:
    return Loop(tmp_path_factory.mktemp("loop"))


@pytest.fixture
def interrupt() -> Iterator[Interrupt]:
    interrupt = Interrupt()
    token = current_interrupt.set(interrupt)
    yield interrupt
    current_interrupt.reset(token)


@pytest.mark.fault(48)
@pytest.mark.parametrize("way", [Loop.run, Loop.run_bound])
def test_a_graph_that_does_not_end_is_ended_and_its_session_computes_as_before(
    loop: Loop, interrupt: Interrupt, way: Callable[[Loop, int], float]
) -> None:
    """A real Loop of 2^60 rounds is ended from another thread; the same session then counts to 1,000."""
    timer = threading.Timer(0.3, interrupt.set)
    timer.start()
    with pytest.raises(InterruptedRunError):
        way(loop, FOR_EVER)
    with pytest.raises(InterruptedRunError):
        way(loop, FOR_EVER)
    interrupt.clear()
    assert way(loop, 1000) == 1000.0
    timer.join()


def make_pool(loop: Loop, timeout_s: float) -> tuple[EnginePool, LoopingRows, RecordingObserver, list[BaseException]]:
    rows, observer, failures = LoopingRows(loop), RecordingObserver(), list[BaseException]()
    limits = Limits(max_slots=2, max_encode_tokens=256, length_multiple=16)
    engine = Engine("loop", Runner(rows, end_id=END_ID), limits, observer, on_failure=failures.append)
    return EnginePool([engine], step_timeout_s=timeout_s), rows, observer, failures


async def tokens(pool: EnginePool) -> list[int]:
    results = pool.translate(SOURCE, Decoding(50))
    return [token.token_id async for result in results for token in result.settled]


@pytest.mark.fault(48)
@pytest.mark.parametrize("what", ["step", "encode"])
async def test_a_real_hang_ends_what_runs_but_not_what_waits(loop: Loop, what: str) -> None:
    """A real graph hangs in a step, or in an encode: the requests that run get StepTimeoutError, those that wait are
    translated, the engine is healthy again; the second hang fails the engine."""
    pool, rows, observer, failures = make_pool(loop, timeout_s=1.0)
    pool.start()
    rounds = rows.step_rounds if what == "step" else rows.encode_rounds
    assert await tokens(pool) == list(SOURCE)
    rounds.append(FOR_EVER)
    async with asyncio.timeout(LONG_S):
        first, second, waiting = await asyncio.gather(*(tokens(pool) for _ in range(3)), return_exceptions=True)
    assert isinstance(first, StepTimeoutError)
    assert first.pushback_ms
    assert isinstance(second, StepTimeoutError | list)
    assert waiting == list(SOURCE)
    assert observer.num_terminated == 1
    assert pool.is_healthy
    assert rows.num_rows <= 1
    rounds.append(FOR_EVER)
    with pytest.raises(EngineFailedError):
        await tokens(pool)
    assert not pool.is_healthy
    await pool.stop()
    # The watchdog's thread, which stopping does not wait for, tells of the failure after it has ended the requests.
    await eventually(lambda: bool(failures))
    assert [type(error) for error in failures] == [EngineHungError]


class Watched:
    """An engine to be looked after."""

    def __init__(self) -> None:
        self.heartbeat = Heartbeat()
        self.is_gone = False
        self.errors: list[BaseException] = []

    def fail(self, error: BaseException) -> None:
        self.errors.append(error)


@pytest.mark.fault(48)
def test_work_is_overdue_only_if_it_is_the_same_work() -> None:
    """Many short pieces of work and long rests are never too long, one piece of work is."""
    watched = Watched()
    watchdog = Watchdog([watched], timeout_s=10.0)
    for _ in range(50):
        watched.heartbeat.beat()
        watchdog.look(5.0)
        watchdog.look(5.0)
    watched.heartbeat.rest()
    for _ in range(50):
        watchdog.look(5.0)
    assert not watched.heartbeat.interrupt.is_set
    watched.heartbeat.beat()
    for _ in range(3):
        assert not watched.heartbeat.interrupt.is_set
        watchdog.look(5.0)
    assert watched.heartbeat.interrupt.is_set
    assert not watched.errors
    watched.heartbeat.beat()
    assert not watched.heartbeat.interrupt.is_set


@pytest.mark.fault(48)
def test_a_process_that_stood_still_is_not_taken_for_one_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock jumps by an hour between two looks, as after SIGSTOP: the step under way is not ended."""
    watched = Watched()
    watched.heartbeat.beat()
    watchdog = Watchdog([watched], timeout_s=20.0)
    now, looks = [0.0], threading.Semaphore(0)
    real_look = watchdog.look

    def look(seconds: float) -> None:
        real_look(seconds)
        looks.release()

    def jump() -> float:
        now[0] += 3600.0
        return now[0]

    monkeypatch.setattr(watchdog, "look", look)
    monkeypatch.setattr(time, "monotonic", jump)
    watchdog.start()
    for _ in range(3):
        assert looks.acquire(timeout=LONG_S)
    watchdog.stop()
    assert not watched.heartbeat.interrupt.is_set


class FailingSession:
    """An onnxruntime session whose runs fail."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def io_binding(self) -> Any:
        return None

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        raise self._error


CUDA_MESSAGES = (
    "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc((void**)&p, size);",
    "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=h",
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running MatMul node. "
    "CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED ; GPU=0",
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : CUDNN failure 5000: CUDNN_STATUS_EXECUTION_FAILED ; GPU=0",
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Add node. "
    "bfc_arena.cc:376 AllocateRawInternal Failed to allocate memory for requested buffer of size 1073741824",
    "bfc_arena.cc:359 Available memory of 10 is smaller than requested bytes of 256",
)


@pytest.mark.fault(49)
@pytest.mark.parametrize("message", CUDA_MESSAGES)
@pytest.mark.parametrize("kind", [onnxruntime_errors.Fail, onnxruntime_errors.RuntimeException])
def test_a_failure_of_the_device_is_told_from_one_of_the_inputs(kind: type[Exception], message: str) -> None:
    """CUDA is out of memory or has failed for good: DeviceFailedError, whatever the type of onnxruntime's exception;
    a token out of range stays what it is, and a CPU's arena may be full for one batch alone."""
    with pytest.raises(DeviceFailedError):
        Bound(FailingSession(kind(message)), {}, uses_device=True).run()  # type: ignore[arg-type]
    out_of_range = kind("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : indices element out of data bounds, idx=100")
    with pytest.raises(kind):
        Bound(FailingSession(out_of_range), {}, uses_device=True).run()  # type: ignore[arg-type]
    with pytest.raises(kind):
        Bound(FailingSession(kind(message)), {}, uses_device=False).run()  # type: ignore[arg-type]


@pytest.mark.fault(49)
def test_a_failure_of_the_provider_is_one_of_the_device() -> None:
    """onnxruntime's EPFail is fatal, whatever it says."""
    with pytest.raises(DeviceFailedError):
        Bound(FailingSession(onnxruntime_errors.EPFail("?")), {}, uses_device=True).run()  # type: ignore[arg-type]


@pytest.mark.fault(49)
@pytest.mark.parametrize("what", ["step", "encode"])
async def test_a_failed_device_ends_the_engine_at_once(loop: Loop, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device fails in a step, or in an encode: nothing is tried again, the engine has failed."""
    pool, rows, _, failures = make_pool(loop, timeout_s=LONG_S)
    calls: list[str] = []

    def fail(*_: Any) -> Any:
        calls.append(what)
        raise DeviceFailedError("CUDA failure 2: out of memory")

    pool.start()
    assert await tokens(pool) == list(SOURCE)
    monkeypatch.setattr(rows, what, fail)
    results = await asyncio.gather(*(tokens(pool) for _ in range(2)), return_exceptions=True)
    assert [type(result) for result in results] == [EngineFailedError] * 2
    assert calls == [what]
    assert await pool.stop()
    assert [type(error) for error in failures] == [DeviceFailedError]


@pytest.mark.fault(49)
def test_rows_are_not_run_apart_on_a_device_that_has_failed() -> None:
    """The search for a culprit ends where the device fails."""
    runs: list[tuple[int, int]] = []

    def run(first: int, stop: int) -> None:
        runs.append((first, stop))
        raise DeviceFailedError("CUDA failure 700")

    with pytest.raises(DeviceFailedError):
        run_apart(run, 8)
    assert runs == [(0, 4)]


@pytest.mark.fault(47)
@pytest.mark.parametrize("culprits", [set(), {0}, {3}, {6}, {0, 1}, {2, 5}, set(range(7))])
@pytest.mark.parametrize("num_rows", [7])
def test_every_row_but_the_culprits_is_run(culprits: set[int], num_rows: int) -> None:
    """Whatever rows fail, the others have been run in parts without them."""
    done: set[int] = set()

    def run(first: int, stop: int) -> None:
        if found := culprits & set(range(first, stop)):
            raise RuntimeError(str(sorted(found)))
        done.update(range(first, stop))

    found = run_apart(run, num_rows)
    assert found.keys() == culprits
    assert done == set(range(num_rows)) - culprits
    assert all(str(error) == f"[{row}]" for row, error in found.items())


@pytest.mark.fault(50)
def test_a_session_runs_on_the_provider_that_was_asked_for(loop: Loop) -> None:
    """The first provider of a session is the one of the settings."""
    assert loop.execution_provider == "CPUExecutionProvider"


@pytest.mark.fault(50)
def test_a_provider_that_onnxruntime_silently_leaves_out_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA is in this onnxruntime but cannot start, and onnxruntime would take the CPU: the session is refused, and
    later failures do not make it take another provider either."""
    real_session = onnxruntime.InferenceSession
    cpu = Session(write_loop(tmp_path / "loop.onnx"))._session
    assert not cpu._enable_fallback

    def silently_on_cpu(path: Any, options: Any, **_: Any) -> Any:
        return real_session(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", silently_on_cpu)
    with pytest.raises(ProviderError, match="CUDAExecutionProvider"):
        Session(tmp_path / "loop.onnx", [("CUDAExecutionProvider", {}), ("CPUExecutionProvider", {})])


def test_interrupting_one_thread_leaves_another_alone(loop: Loop, interrupt: Interrupt) -> None:
    """Each thread has an interrupt of its own."""
    interrupt.set()
    results: list[float] = []
    other = threading.Thread(target=lambda: results.append(loop.run(10)))
    other.start()
    other.join(LONG_S)
    assert results == [10.0]
    with pytest.raises(InterruptedRunError):
        loop.run(FOR_EVER)
    assert np.isfinite(results[0])
