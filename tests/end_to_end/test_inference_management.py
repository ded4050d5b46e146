"""Versions that come and go by the Open Inference Protocol, and streams that outlive them."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from service.pb import inference_pb2 as pb
from service.pb.inference_pb2_grpc import GRPCInferenceServiceStub
from service.server import Server
from service.settings import Settings
from tests.faults.versions import NAME, TEXTS, TIMEOUT_S, Managed, managed_server, put

REQUEST = pb.ModelInferRequest(
    model_name=NAME,
    inputs=[
        pb.ModelInferRequest.InferInputTensor(
            name="text",
            datatype="BYTES",
            shape=[1],
            contents=pb.InferTensorContents(bytes_contents=[TEXTS[0].encode()]),
        )
    ],
)


class Stream:
    """A stream that a test holds open."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self._requests: queue.Queue[pb.ModelInferRequest | None] = queue.Queue()
        stub: Any = GRPCInferenceServiceStub(self._channel)
        self._responses = stub.ModelStreamInfer(iter(self._requests.get, None), timeout=TIMEOUT_S)

    def translate(self) -> tuple[str, str]:
        """The version that translated, and the translation."""
        self._requests.put(REQUEST)
        text = ""
        while True:
            response = next(self._responses)
            assert not response.error_message
            text += response.infer_response.outputs[0].contents.bytes_contents[0].decode()
            if response.infer_response.parameters["triton_final_response"].bool_param:
                return response.infer_response.model_version, text

    def close(self) -> None:
        self._requests.put(None)
        self._responses.cancel()
        self._channel.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Managed]:
    store = tmp_path / "store"
    (store / NAME).mkdir(parents=True)
    put(store, 1)
    with managed_server(store, "--model-control", "explicit", "--initial-models", NAME, "--grace-s", "60") as server:
        yield server


@pytest.fixture
def stream(server: Managed) -> Iterator[Stream]:
    stream = Stream(server.address)
    yield stream
    stream.close()


@pytest.fixture
def admin(server: Managed) -> Iterator[Any]:
    with grpc.insecure_channel(server.admin_address) as channel:
        yield GRPCInferenceServiceStub(channel)


def states(admin: Any, *, ready: bool = False) -> list[tuple[str, str]]:
    index = admin.RepositoryIndex(pb.RepositoryIndexRequest(ready=ready), timeout=TIMEOUT_S)
    return [(one.version, one.state) for one in index.models if one.name == NAME]


def test_the_newest_version_is_loaded_and_every_version_unloaded(
    server: Managed, admin: Any, stream: Stream, tmp_path: Path
) -> None:
    """An open stream takes the newest version with its next request, and keeps none from being unloaded."""
    first = stream.translate()
    assert first == ("1", server.translate()[1])
    put(tmp_path / "store", 2)
    admin.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=NAME), timeout=TIMEOUT_S)
    assert states(admin) == [("1", "READY"), ("2", "READY")]
    second = stream.translate()
    assert second == ("2", server.translate()[1])
    assert first[1] != second[1]
    server.unload(1)
    assert admin.ModelReady(pb.ModelReadyRequest(name=NAME, version="2"), timeout=TIMEOUT_S).ready
    unload = pb.RepositoryModelUnloadRequest(model_name=NAME)
    unload.parameters["unload_dependents"].bool_param = False
    admin.RepositoryModelUnload(unload, timeout=TIMEOUT_S)
    while states(admin) != [("1", "UNAVAILABLE"), ("2", "UNAVAILABLE")]:
        assert {state for _, state in states(admin)} <= {"UNLOADING", "UNAVAILABLE"}
    assert states(admin, ready=True) == []
    assert not admin.ServerReady(pb.ServerReadyRequest(), timeout=TIMEOUT_S).ready


def test_what_cannot_be_loaded_or_unloaded_is_refused_as_by_model_management(server: Managed, admin: Any) -> None:
    server.label("stable", 1)
    load, unload = pb.RepositoryModelLoadRequest, pb.RepositoryModelUnloadRequest
    changed = load(model_name=NAME)
    changed.parameters["config"].string_param = "{}"
    refused = [
        (admin.RepositoryModelLoad, load(model_name="none"), "NOT_FOUND"),
        (admin.RepositoryModelLoad, load(model_name="../etc"), "INVALID_ARGUMENT"),
        (admin.RepositoryModelLoad, changed, "INVALID_ARGUMENT"),
        (admin.RepositoryModelUnload, unload(model_name="none"), "NOT_FOUND"),
        (admin.RepositoryModelUnload, unload(model_name=NAME), "FAILED_PRECONDITION"),
        (admin.ModelInfer, pb.ModelInferRequest(model_name=NAME), "PERMISSION_DENIED"),
    ]
    for call, message, code in refused:
        with pytest.raises(grpc.RpcError) as raised:
            call(message, timeout=TIMEOUT_S)
        assert raised.value.code().name == code, message
    with pytest.raises(grpc.RpcError) as raised:
        list(admin.ModelStreamInfer(iter(()), timeout=TIMEOUT_S))
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert states(admin) == [("1", "READY")]


async def test_an_open_stream_does_not_keep_a_server_from_stopping(tmp_path: Path) -> None:
    """It ends with UNAVAILABLE and a pushback, long before the grace time has passed."""
    store = tmp_path / "store"
    (store / NAME).mkdir(parents=True)
    put(store, 1)
    server = Server(Settings(port=0, metrics_port=0, model_store=store, verify_certificates=False, grace_s=10_000.0))
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel, asyncio.timeout(TIMEOUT_S):
        call: Any = GRPCInferenceServiceStub(channel).ModelStreamInfer()
        await call.write(REQUEST)
        while not (await call.read()).infer_response.parameters["triton_final_response"].bool_param:
            pass
        stopping = asyncio.create_task(server.stop())
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call.read()
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "grpc-retry-pushback-ms" in [key for key, _ in raised.value.trailing_metadata()]
        await stopping
