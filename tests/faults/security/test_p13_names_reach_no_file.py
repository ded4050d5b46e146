"""A model's name is a key and never a path."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import pytest

from service.pb import translation_pb2 as pb
from tests.faults.security.answers import MODEL, REQUESTS, ask

NAMES = (
    "../etc",
    "a/../b",
    "/etc/passwd",
    "..",
    ".",
    f"{MODEL}/",
    f"{MODEL}/1",
    f"./{MODEL}",
    " ..",
    "%2e%2e",
    "\uff0e\uff0e\uff0f",
    f"{MODEL}\0",
    f"{MODEL}\n",
    f" {MODEL}",
    MODEL.upper(),
    "a\\b",
    "a" * 65,
    "a" * 10_240,
    "",
)


def with_name(method: str, name: str, version: int = 0) -> Any:
    request = type(REQUESTS[method]).FromString(REQUESTS[method].SerializeToString())
    named = request.start if method == "TranslateInteractive" else request
    named.model, named.version = name, version
    return request


NAMING = [method for method in REQUESTS if method != "ListModels"]


@pytest.mark.fault(12)
@pytest.mark.parametrize("method", NAMING)
def test_what_cannot_be_a_name_is_invalid(channel: grpc.Channel, method: str) -> None:
    """INVALID_ARGUMENT with the same words for every such name."""
    answers = [ask(channel, method, with_name(method, name)) for name in NAMES]
    assert {answer.name for answer in answers} == {"INVALID_ARGUMENT"}
    assert len({answer.details for answer in answers[:-1]}) == 1


@pytest.mark.fault(12)
async def test_no_name_makes_the_server_touch_a_file(inside: str) -> None:
    """A server in this process opens, lists and stats nothing while it refuses."""
    touched: list[tuple[str, Any]] = []
    is_watching = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if is_watching and event in ("open", "os.listdir", "os.scandir", "os.chdir", "glob.glob", "pathlib.Path.glob"):
            touched.append((event, arguments))

    sys.addaudithook(hook)
    async with grpc.aio.insecure_channel(inside) as channel:
        call = channel.unary_unary("/stepstream.v1.TranslationService/GetModel")
        await call(pb.GetModelRequest(model=MODEL).SerializeToString())
        is_watching = True
        for name in (*NAMES, "no-such-model"):
            with pytest.raises(grpc.aio.AioRpcError):
                await asyncio.wait_for(call(pb.GetModelRequest(model=name).SerializeToString()), 30)
        is_watching = False
    assert touched == []


@pytest.mark.fault(11)
@pytest.mark.parametrize("method", NAMING)
def test_a_model_or_version_that_is_not_there_is_not_found(channel: grpc.Channel, method: str) -> None:
    """NOT_FOUND, for a name that could be one and for a version that is not loaded."""
    assert ask(channel, method, with_name(method, "no-such-model")).name == "NOT_FOUND"
    answer = ask(channel, method, with_name(method, MODEL, 99))
    assert (answer.name, "99" in answer.details) == ("NOT_FOUND", True)
    assert ask(channel, method, with_name(method, MODEL, 2**63 - 1)).name == "NOT_FOUND"
    for version in (-1, -(2**63)):
        assert ask(channel, method, with_name(method, MODEL, version)).name == "INVALID_ARGUMENT"
