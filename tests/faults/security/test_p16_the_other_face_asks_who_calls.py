"""The Open Inference Protocol lets in whom the other face lets in, and nobody else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import grpc
import pytest

from service.pb import inference_pb2 as pb
from tests.faults.security.answers import LIMIT_S, MODEL, SENTENCE
from tests.faults.security.servers import Started, started

PATH = "/inference.GRPCInferenceService/"
KOREAN = "en-ko-transformer"
SCOPES = {"tenant": ["translate:en-ko-*", "read:en-ko-*"], "reader": ["read"], "manager": ["manage"]}


@pytest.fixture(scope="module")
def guarded(serve: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    folder = tmp_path_factory.mktemp("tokens")
    entries = [
        {
            "name": name,
            "sha256": hashlib.sha256(f"secret-{name}".encode()).hexdigest(),
            "scopes": scopes,
            "expires": "2999-01-01T00:00:00Z",
        }
        for name, scopes in SCOPES.items()
    ]
    (folder / "tokens.json").write_text(json.dumps({"tokens": entries}))
    with started((*serve, "--tokens-file", str(folder / "tokens.json")), folder / "log") as server:
        yield server


@pytest.fixture(scope="module")
def guarded_channel(guarded: Started) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(guarded.address) as channel:
        yield channel


def infer(model: str) -> pb.ModelInferRequest:
    contents = pb.InferTensorContents(bytes_contents=[SENTENCE.encode()])
    tensor = pb.ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=[1], contents=contents)
    return pb.ModelInferRequest(model_name=model, inputs=[tensor])


REQUESTS = {
    "ServerLive": pb.ServerLiveRequest(),
    "ServerReady": pb.ServerReadyRequest(),
    "ServerMetadata": pb.ServerMetadataRequest(),
    "ModelReady": pb.ModelReadyRequest(name=MODEL),
    "ModelMetadata": pb.ModelMetadataRequest(name=MODEL),
    "ModelConfig": pb.ModelConfigRequest(name=MODEL),
    "ModelStatistics": pb.ModelStatisticsRequest(name=MODEL),
    "ModelInfer": infer(MODEL),
    "ModelStreamInfer": infer(MODEL),
    "RepositoryIndex": pb.RepositoryIndexRequest(),
    "RepositoryModelLoad": pb.RepositoryModelLoadRequest(model_name=MODEL),
    "RepositoryModelUnload": pb.RepositoryModelUnloadRequest(model_name=MODEL),
}
MODELLESS = ("ServerLive", "ServerReady", "ServerMetadata", "RepositoryIndex")
INFERRING = ("ModelInfer", "ModelStreamInfer")
MANAGING = ("RepositoryModelLoad", "RepositoryModelUnload")


def answer(channel: grpc.Channel, method: str, name: str, message: bytes | None = None) -> tuple[str, str]:
    """The status, and its details."""
    sent = REQUESTS[method].SerializeToString() if message is None else message
    metadata = (("authorization", f"Bearer secret-{name}"),) if name else ()
    try:
        if method == "ModelStreamInfer":
            list(channel.stream_stream(PATH + method)(iter([sent]), metadata=metadata, timeout=LIMIT_S))
        else:
            channel.unary_unary(PATH + method)(sent, metadata=metadata, timeout=LIMIT_S)
    except grpc.RpcError as error:
        return error.code().name, error.details() or ""
    return "OK", ""


@pytest.mark.fault(21)
@pytest.mark.parametrize("method", REQUESTS)
def test_nobody_gets_in_without_a_valid_token_here_either(guarded_channel: grpc.Channel, method: str) -> None:
    """UNAUTHENTICATED with the same words, also for bytes that are no message."""
    for name in ("", "nobody"):
        for message in (None, b"\xff\xff"):
            refused = answer(guarded_channel, method, name, message)
            assert refused == ("UNAUTHENTICATED", "a valid bearer token is needed")


@pytest.mark.fault(22)
@pytest.mark.parametrize("method", REQUESTS)
def test_a_token_allows_its_methods_on_its_models_here_as_there(guarded_channel: grpc.Channel, method: str) -> None:
    """OK, or PERMISSION_DENIED with the same words; models are managed on the admin port even with the scope for it."""
    refused = ("PERMISSION_DENIED", "the token does not allow this")
    on_admin = ("PERMISSION_DENIED", "models are loaded and unloaded on the admin port alone")
    reads = method not in (*INFERRING, *MANAGING)
    assert answer(guarded_channel, method, "reader") == (("OK", "") if reads else refused)
    assert answer(guarded_channel, method, "tenant") == (("OK", "") if method in MODELLESS else refused)
    assert answer(guarded_channel, method, "manager") == (on_admin if method in MANAGING else refused)


@pytest.mark.fault(22)
def test_a_tenant_uses_its_own_models_and_learns_of_no_others(guarded_channel: grpc.Channel) -> None:
    """PERMISSION_DENIED for a model that is there and for one that is not; statistics of all models are for all's
    readers."""
    for method in INFERRING:
        assert answer(guarded_channel, method, "tenant", infer(KOREAN).SerializeToString()) == ("OK", "")
        for model in (MODEL, "no-such-model", "../etc"):
            refused = answer(guarded_channel, method, "tenant", infer(model).SerializeToString())
            assert refused == ("PERMISSION_DENIED", "the token does not allow this")
    everything = pb.ModelStatisticsRequest().SerializeToString()
    assert answer(guarded_channel, "ModelStatistics", "tenant", everything)[0] == "PERMISSION_DENIED"
    assert answer(guarded_channel, "ModelStatistics", "reader", everything)[0] == "OK"
