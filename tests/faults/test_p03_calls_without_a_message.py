"""Promise 3: a call ends, whether or not its message ever comes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.client.server_process import ServerProcess, server_process
from tests.balance import read_metrics, require_balance
from tests.faults.commands import command, long_request, short_request
from tests.faults.http2 import Connection, grpc_message

INVALID_ARGUMENT, DEADLINE_EXCEEDED = "3", "4"
NUM_CALLS = 20
"""More than the server asks gRPC for at once, so that each way to take a call is met."""
MAX_CALL_S = 1.5
ONLY = {
    "Translate": "/stepstream.v1.TranslationService/Translate",
    "StreamTranslate": "/stepstream.v1.TranslationService/StreamTranslate",
    "GetModel": "/stepstream.v1.TranslationService/GetModel",
    "ModelInfer": "/inference.GRPCInferenceService/ModelInfer",
    "ServerLive": "/inference.GRPCInferenceService/ServerLive",
    "Check": "/grpc.health.v1.Health/Check",
    "Watch": "/grpc.health.v1.Health/Watch",
}
MESSAGE = grpc_message(short_request().SerializeToString())
UNFINISHED = {"nothing": b"", "half a prefix": MESSAGE[:3], "half a message": MESSAGE[:-2]}


@pytest.fixture(scope="module")
def hasty_server(small_store: Path) -> Iterator[ServerProcess]:
    """A call without a deadline ends soon."""
    with server_process(command(small_store, "--max-call-s", str(MAX_CALL_S))) as server:
        yield server
        require_balance(lambda: read_metrics(server))


def begin(peer: Connection, path: str, content: bytes, *, ends: bool) -> int:
    """A call of which so many bytes are sent; whether it is over for its client then."""
    stream_id = peer.call("", path=path)
    if content or ends:
        peer.h2.send_data(stream_id, content, end_stream=ends)
        peer.flush()
    return stream_id


@pytest.mark.fault(2)
@pytest.mark.parametrize("content", UNFINISHED.values(), ids=UNFINISHED)
@pytest.mark.parametrize("path", ONLY.values(), ids=ONLY)
def test_a_call_that_is_over_before_its_message_is_invalid(
    abused_server: ServerProcess, path: str, content: bytes
) -> None:
    """INVALID_ARGUMENT at once, and the next call is answered."""
    with Connection(abused_server.address) as peer:
        for _ in range(NUM_CALLS):
            assert peer.status(begin(peer, path, content, ends=True), timeout_s=10) == INVALID_ARGUMENT


@pytest.mark.fault(55)
@pytest.mark.parametrize("content", UNFINISHED.values(), ids=UNFINISHED)
def test_a_message_that_never_comes_is_not_waited_for(hasty_server: ServerProcess, content: bytes) -> None:
    """DEADLINE_EXCEEDED once the server's own limit has passed, for a caller without a deadline."""
    paths = [*ONLY.values(), "/stepstream.v1.TranslationService/TranslateInteractive"] * 3
    with Connection(hasty_server.address) as peer:
        began = time.monotonic()
        calls = [begin(peer, path, content, ends=False) for path in paths]
        assert {peer.status(call, timeout_s=MAX_CALL_S + 10) for call in calls} == {DEADLINE_EXCEEDED}
        assert time.monotonic() - began >= MAX_CALL_S * 0.9


@pytest.mark.fault(55)
def test_the_limit_is_not_felt_by_a_call_whose_message_has_come(hasty_server: ServerProcess) -> None:
    """A short call is answered; a long one ends by its own deadline."""
    with Connection(hasty_server.address) as peer:
        assert peer.status(peer.call("StreamTranslate", short_request().SerializeToString())) == "0"
        assert peer.status(peer.call("StreamTranslate", long_request().SerializeToString())) in ("0", DEADLINE_EXCEEDED)
