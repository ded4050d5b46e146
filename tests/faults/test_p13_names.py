"""What a caller calls a model never becomes a path: no file is looked for, whatever the name."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from service.pb import management_pb2 as management
from service.pb import translation_pb2 as pb
from service.pb.management_pb2_grpc import ModelManagementServiceStub
from service.pb.translation_pb2_grpc import TranslationServiceStub
from service.server import Server
from service.settings import Settings
from tests.faults.versions import NAME, TIMEOUT_S, put

HOSTILE = (
    "../etc",
    "a/../b",
    "/etc/passwd",
    "..",
    ".",
    "model/",
    " ..",
    ".. ",
    "\t..",
    f"{NAME} ",
    f" {NAME}",
    f"{NAME}\n",
    f"{NAME}/1",
    f"{NAME}/../{NAME}",
    f"./{NAME}",
    "..\\..\\etc",
    "%2e%2e",
    "..%2fetc",
    f"{NAME}\0",
    "\0",
    "\uff0e\uff0e",  # full-width dots
    "\u2025",
    "~root",
    "$HOME",
    "file:///etc/passwd",
    NAME.upper(),
    "-" + NAME,
    "." + NAME,
    "a" * 65,
    "a" * 10_240,
    "",
)
FILE_EVENTS = ("open", "os.", "shutil.", "glob.", "pathlib.")

_heard: list[str] | None = None


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if _heard is not None and event.startswith(FILE_EVENTS):
        _heard.append(f"{event} {arguments[:1]!r}")


sys.addaudithook(_hear)


@contextmanager
def file_events() -> Iterator[list[str]]:
    """What the interpreter does with files while the block runs."""
    global _heard  # a hook of the interpreter cannot be taken away, only told to be quiet
    _heard = events = []
    try:
        yield events
    finally:
        _heard = None


@pytest.fixture
async def ports(tmp_path: Path) -> AsyncIterator[tuple[str, str]]:
    """The addresses of a server in this very process."""
    (tmp_path / NAME).mkdir()
    put(tmp_path, 1)
    server = Server(
        Settings(
            port=0,
            metrics_port=0,
            admin_port=0,
            model_store=tmp_path,
            model_control="explicit",
            initial_models=(NAME,),
        )
    )
    await server.start()
    yield f"127.0.0.1:{server.port}", f"127.0.0.1:{server.admin_port}"
    await server.stop()


async def _first(stream: Any) -> Any:
    return await anext(aiter(stream))


def calls_by_name(
    stub: TranslationServiceStub, manager: ModelManagementServiceStub
) -> dict[str, Callable[[str], Awaitable[Any]]]:
    """Every method that takes a model's name."""
    pair = pb.ScorePair(source="a", target="b")

    def stream(name: str) -> Any:
        return stub.StreamTranslate(pb.StreamTranslateRequest(model=name, text="a"), timeout=TIMEOUT_S)

    def interactive(name: str) -> Any:
        start = pb.TranslateInteractiveRequest(start=pb.StreamTranslateRequest(model=name, text="a"))
        return stub.TranslateInteractive(iter([start]), timeout=TIMEOUT_S)

    return {
        "Translate": lambda name: stub.Translate(pb.TranslateRequest(model=name, texts=["a"]), timeout=TIMEOUT_S),
        "StreamTranslate": lambda name: _first(stream(name)),
        "TranslateInteractive": lambda name: _first(interactive(name)),
        "Score": lambda name: stub.Score(pb.ScoreRequest(model=name, pairs=[pair]), timeout=TIMEOUT_S),
        "GetModel": lambda name: stub.GetModel(pb.GetModelRequest(model=name), timeout=TIMEOUT_S),
        "LoadModel": lambda name: manager.LoadModel(management.LoadModelRequest(model=name), timeout=TIMEOUT_S),
        "UnloadModel": lambda name: manager.UnloadModel(
            management.UnloadModelRequest(model=name, version=1), timeout=TIMEOUT_S
        ),
        "SetLabel": lambda name: manager.SetLabel(
            management.SetLabelRequest(model=name, label="stable", version=1), timeout=TIMEOUT_S
        ),
        "ListVersions": lambda name: manager.ListVersions(
            management.ListVersionsRequest(model=name), timeout=TIMEOUT_S
        ),
    }


@pytest.mark.fault(12)
async def test_a_hostile_name_is_refused_without_a_look_at_the_disk(ports: tuple[str, str]) -> None:
    """INVALID_ARGUMENT from every method, and no file is opened, listed or looked for."""
    async with grpc.aio.insecure_channel(ports[0]) as channel, grpc.aio.insecure_channel(ports[1]) as admin:
        for method, call in calls_by_name(TranslationServiceStub(channel), ModelManagementServiceStub(admin)).items():
            await call(NAME) if method in ("Translate", "ListVersions") else None
            for name in HOSTILE:
                if method == "ListVersions" and not name:
                    continue
                with file_events() as events, pytest.raises(grpc.aio.AioRpcError) as raised:
                    await call(name)
                assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT, (method, name)
                assert events == [], (method, name)
                assert name not in (raised.value.details() or "") or len(name) < 4


@pytest.mark.fault(11)
async def test_an_unknown_name_is_not_found_and_no_path_is_made_of_it(ports: tuple[str, str]) -> None:
    """NOT_FOUND; only loading on demand looks at the disk, and there at the store alone."""
    async with grpc.aio.insecure_channel(ports[0]) as channel, grpc.aio.insecure_channel(ports[1]) as admin:
        for method, call in calls_by_name(TranslationServiceStub(channel), ModelManagementServiceStub(admin)).items():
            if method == "ListVersions":
                continue
            with file_events() as events, pytest.raises(grpc.aio.AioRpcError) as raised:
                await call("unheard-of")
            assert raised.value.code() == grpc.StatusCode.NOT_FOUND, method
            assert (events != []) == (method == "LoadModel")
            assert [event for event in events if "unheard-of" in event] == []
