"""Streams of empty steps from a real server: as asked for, bounded, ended with their client, for those who may."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc
import pytest

from service.client.server_process import SERVE_COMMAND, ServerProcess, server_process
from service.errors import QueueFullError
from service.load_test import LoadTestServicer
from service.pb.load_test_pb2 import StreamEmptyStepsRequest
from service.pb.load_test_pb2_grpc import LoadTestServiceStub
from tests.balance import read_metrics, require_balance

LIMIT_S = 60.0
SCOPES = {"tester": "load-test", "translator": "translate:*"}
TESTER = [("authorization", "Bearer tester")]


@pytest.fixture(scope="module")
def server(shipped_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """With the service, without proving its models, for whoever has a token."""
    tokens = tmp_path_factory.mktemp("tokens") / "tokens.json"
    entries = [
        {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), "scopes": [scope]}
        for name, scope in SCOPES.items()
    ]
    tokens.write_text(json.dumps({"tokens": entries}))
    flags = ("--load-test-service", "--no-verify-certificates", "--tokens-file", str(tokens))
    with server_process((*SERVE_COMMAND, "--model-store", str(shipped_store), *flags)) as server:
        yield server


@pytest.fixture
def stub(server: ServerProcess) -> Iterator[Any]:
    with grpc.insecure_channel(server.address) as channel:
        yield LoadTestServiceStub(channel)


def test_a_stream_has_as_many_steps_and_bytes_as_asked_for(stub: Any) -> None:
    request = StreamEmptyStepsRequest(num_steps=50, step_bytes=1000)
    call = stub.StreamEmptySteps(request, metadata=TESTER, timeout=LIMIT_S)
    steps = [(step.index, step.payload) for step in call]
    assert steps == [(index, bytes(1000)) for index in range(50)]
    assert "x-request-id" in dict(call.trailing_metadata())


def test_no_step_comes_before_it_is_due(stub: Any) -> None:
    began = time.monotonic()
    request = StreamEmptyStepsRequest(num_steps=6, steps_per_second=10)
    arrivals = [time.monotonic() - began for _ in stub.StreamEmptySteps(request, metadata=TESTER, timeout=LIMIT_S)]
    assert all(arrival >= index / 10 - 0.02 for index, arrival in enumerate(arrivals))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_steps", 0),
        ("num_steps", -1),
        ("num_steps", 1_000_001),
        ("step_bytes", -1),
        ("step_bytes", 65_537),
        ("steps_per_second", -0.5),
        ("steps_per_second", 10_001),
        ("steps_per_second", float("nan")),
    ],
)
def test_a_number_out_of_its_range_is_refused_by_name(stub: Any, field: str, value: float) -> None:
    request = StreamEmptyStepsRequest(num_steps=1)
    setattr(request, field, value)
    with pytest.raises(grpc.RpcError) as refused:
        list(stub.StreamEmptySteps(request, metadata=TESTER, timeout=LIMIT_S))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details().startswith(f"{field} is ")
    assert "it must be from" in refused.value.details()


@pytest.mark.parametrize("pace", [0.0, 5.0], ids=["as fast as it can", "paced"])
def test_a_client_that_goes_away_ends_its_stream(server: ServerProcess, stub: Any, pace: float) -> None:
    call = stub.StreamEmptySteps(
        StreamEmptyStepsRequest(num_steps=1_000_000, step_bytes=65_536, steps_per_second=pace), metadata=TESTER
    )
    next(call)
    call.cancel()
    require_balance(lambda: read_metrics(server))


def test_only_a_token_for_load_tests_lets_in(stub: Any) -> None:
    def ask(metadata: list[tuple[str, str]]) -> grpc.StatusCode:
        call = stub.StreamEmptySteps(StreamEmptyStepsRequest(num_steps=1), metadata=metadata, timeout=LIMIT_S)
        with pytest.raises(grpc.RpcError):
            list(call)
        code: grpc.StatusCode = call.code()
        return code

    assert ask([]) is grpc.StatusCode.UNAUTHENTICATED
    assert ask([("authorization", "Bearer translator")]) is grpc.StatusCode.PERMISSION_DENIED


def test_a_server_offers_it_only_if_told_to(shipped_server: str) -> None:
    with grpc.insecure_channel(shipped_server) as channel, pytest.raises(grpc.RpcError) as unknown:
        list(LoadTestServiceStub(channel).StreamEmptySteps(StreamEmptyStepsRequest(num_steps=1), timeout=LIMIT_S))
    assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_no_more_streams_run_than_may_and_each_makes_room_at_its_end() -> None:
    servicer: Any = LoadTestServicer(max_streams=1)
    request = StreamEmptyStepsRequest(num_steps=2)
    async with aclosing(servicer.StreamEmptySteps(request, None)) as first:
        await anext(first)
        with pytest.raises(QueueFullError, match="1 load-test streams run already") as refused:
            await anext(servicer.StreamEmptySteps(request, None))
        assert refused.value.pushback_ms is not None
    assert [step.index async for step in servicer.StreamEmptySteps(request, None)] == [0, 1]
