"""A whole server in this process, behind a real socket, on one shipped model whose decoder steps take as long as a test
wants."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from service.admission.admission import Admission
from service.model.slots import Slots
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceStub
from service.server import Server
from service.settings import Settings

if TYPE_CHECKING:
    from service.pb.translation_pb2_grpc import TranslationServiceAsyncStub

MODEL = "en-de-transformer"
STORE = Path(__file__).parents[2] / "model_store"
LONGEST_S = 60.0


class PacedServer:
    """step_s: seconds that every step takes longer. sources: those that the encoder was given."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.step_s = 0.0
        self.sources: list[list[int]] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    @property
    def admission(self) -> Admission:
        return self.server._registry.find(MODEL, 0).admission

    @property
    def num_calls(self) -> int:
        return len(self.server._calls._running)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for what must come true soon."""
        async with asyncio.timeout(LONGEST_S):
            while not holds():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def until_idle(self) -> None:
        """Nothing is left of any call: no row, no place, no work ahead, nobody to tell."""
        admission = self.admission
        await self.until(lambda: self.num_calls == 0)
        assert admission._num_arriving == 0
        await self.until(lambda: admission._num_rows == 0 and admission._backlog.is_empty)
        engines = self.server._registry.find(MODEL, 0).engine._engines
        await self.until(lambda: not any(engine._cycle.has_work or engine._mailboxes.ids() for engine in engines))
        assert admission.queue_length == admission._backlog.work == 0
        assert [engine.num_rows_promised for engine in engines] == [0] * len(engines)


Start = Callable[..., AbstractAsyncContextManager[PacedServer]]


@asynccontextmanager
async def paced_server(folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> AsyncIterator[PacedServer]:
    """folder: an empty one, for the store."""
    shutil.copytree(STORE / MODEL, folder / MODEL)
    values = {"num_workers": 1, "model_store": folder, "verify_certificates": False}
    server = Server(Settings(host="127.0.0.1", port=0, metrics_port=0, **(values | settings)))
    paced = PacedServer(server)
    real_step, real_encode = Slots.step, Slots.encode

    def step(slots: Slots) -> Any:
        time.sleep(paced.step_s)
        return real_step(slots)

    def encode(slots: Slots, sources: Sequence[Sequence[int]]) -> Any:
        paced.sources += [list(source) for source in sources]
        return real_encode(slots, sources)

    monkeypatch.setattr(Slots, "step", step)
    monkeypatch.setattr(Slots, "encode", encode)
    await server.start()
    try:
        yield paced
    finally:
        paced.step_s = 0.0
        await server.stop()


class Outcome:
    """How a call ended: its status, its trailing metadata, and how many messages had come."""

    def __init__(self, error: grpc.aio.AioRpcError | None, trailing: Any, num_messages: int) -> None:
        self.code = error.code() if error is not None else grpc.StatusCode.OK
        self.details = error.details() if error is not None else ""
        self.trailing: dict[str, Any] = dict(trailing or ())
        self.num_messages = num_messages
        self.ended_at = time.monotonic()

    @property
    def is_ok(self) -> bool:
        return self.code is grpc.StatusCode.OK

    @property
    def pushback_ms(self) -> int:
        """Of a refusal, which must have one."""
        return int(self.trailing["grpc-retry-pushback-ms"])


async def stream(
    stub: TranslationServiceAsyncStub,
    text: str,
    *,
    priority: pb.Priority.ValueType = pb.PRIORITY_UNSPECIFIED,
    max_length: int = 0,
    timeout_s: float | None = LONGEST_S,
) -> Outcome:
    """One StreamTranslate to its end. min_length is max_length, so that it takes exactly so many steps."""
    options = pb.DecodingOptions(max_length=max_length, min_length=max(0, max_length - 1))
    request = pb.StreamTranslateRequest(model=MODEL, text=text, options=options, priority=priority)
    call = stub.StreamTranslate(request, timeout=timeout_s)
    num_messages = 0
    try:
        async for _ in call:
            num_messages += 1
    except grpc.aio.AioRpcError as error:
        return Outcome(error, error.trailing_metadata(), num_messages)
    return Outcome(None, await call.trailing_metadata(), num_messages)


def connected(address: str) -> grpc.aio.Channel:
    """A channel with a connection of its own."""
    return grpc.aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),))


def stub_of(channel: grpc.aio.Channel) -> TranslationServiceAsyncStub:
    return TranslationServiceStub(channel)
