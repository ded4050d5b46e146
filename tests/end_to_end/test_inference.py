"""The Open Inference Protocol on a real server: the same answers as on the other face, and errors that name what is
wrong."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import pytest

from service.client.client import Client
from service.client.options import DecodingOptions
from service.client.types import Completion, StepEvent
from service.pb import inference_pb2 as pb
from service.pb.inference_pb2_grpc import GRPCInferenceServiceStub

MODEL, RECURRENT = "en-de-transformer", "en-de-general"
SENTENCE = "Two dogs play in the snow."
OTHER = "A man in a blue shirt is standing on a ladder."
LIMIT_S = 120.0
INPUT = pb.ModelInferRequest.InferInputTensor
OUTPUT = pb.ModelInferRequest.InferRequestedOutputTensor


@pytest.fixture(scope="module")
def channel(shipped_server: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(shipped_server) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> Any:
    return GRPCInferenceServiceStub(channel)


@pytest.fixture(scope="module")
def client(shipped_server: str) -> Iterator[Client]:
    with Client(shipped_server) as client:
        yield client


def parameter(value: bool | int | float | str) -> pb.InferParameter:
    kinds = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
    return pb.InferParameter(**{kinds[type(value)]: value})


def request(
    texts: Sequence[str] = (SENTENCE,),
    *,
    model: str = MODEL,
    outputs: Sequence[str] = (),
    parameters: dict[str, Any] | None = None,
    **fields: Any,
) -> pb.ModelInferRequest:
    contents = pb.InferTensorContents(bytes_contents=[text.encode() for text in texts])
    return pb.ModelInferRequest(
        model_name=model,
        inputs=[INPUT(name="text", datatype="BYTES", shape=[len(texts)], contents=contents)],
        outputs=[OUTPUT(name=name) for name in outputs],
        parameters={name: parameter(value) for name, value in (parameters or {}).items()},
        **fields,
    )


def values(response: pb.ModelInferResponse) -> dict[str, list[Any]]:
    """The outputs of a response with typed contents."""
    found: dict[str, list[Any]] = {}
    for output in response.outputs:
        texts = [text.decode() for text in output.contents.bytes_contents]
        found[output.name] = texts or list(output.contents.fp32_contents)
        assert list(output.shape) == [len(found[output.name])]
    return found


def stream(stub: Any, *requests: pb.ModelInferRequest, **named: Any) -> list[pb.ModelStreamInferResponse]:
    return list(stub.ModelStreamInfer(iter(requests), timeout=LIMIT_S, **named))


def is_final(response: pb.ModelInferResponse) -> bool:
    return response.parameters["triton_final_response"].bool_param


def test_the_server_and_its_models_describe_themselves(stub: Any) -> None:
    assert stub.ServerLive(pb.ServerLiveRequest()).live
    assert stub.ServerReady(pb.ServerReadyRequest()).ready
    assert stub.ServerMetadata(pb.ServerMetadataRequest()).name == "stepstream"
    assert [
        stub.ModelReady(pb.ModelReadyRequest(name=name, version=version)).ready
        for name, version in ((MODEL, ""), (MODEL, "1"), (MODEL, "2"), ("none", ""))
    ] == [True, True, False, False]
    metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name=MODEL))
    assert (metadata.name, list(metadata.versions)) == (MODEL, ["1"])
    assert [(one.name, one.datatype, list(one.shape)) for one in metadata.inputs] == [("text", "BYTES", [-1])]
    assert [one.name for one in metadata.outputs] == ["text", "score", "log_probability"]
    config = stub.ModelConfig(pb.ModelConfigRequest(name=MODEL, version="1")).config
    assert [one.name for one in (*config.input, *config.output)] == ["text", *(one.name for one in metadata.outputs)]
    assert config.model_transaction_policy.decoupled
    assert config.parameters["source_language"].string_value == "en"
    index = stub.RepositoryIndex(pb.RepositoryIndexRequest()).models
    assert (MODEL, "1", "READY") in [(one.name, one.version, one.state) for one in index]


def test_texts_are_translated_as_on_the_other_face(stub: Any, client: Client) -> None:
    texts = [SENTENCE, OTHER, ""]
    expected = client.translate(texts, model=MODEL)
    response = stub.ModelInfer(request(texts, id="7"), timeout=LIMIT_S)
    assert (response.model_name, response.model_version, response.id) == (MODEL, "1", "7")
    assert values(response) == {
        "text": [one.text for one in expected],
        "score": [one.hypotheses[0].score for one in expected],
        "log_probability": [one.log_probability for one in expected],
    }


def test_raw_bytes_are_answered_with_raw_bytes(stub: Any, client: Client) -> None:
    texts = [SENTENCE, OTHER]
    encoded = [text.encode() for text in texts]
    raw = b"".join(len(one).to_bytes(4, "little") + one for one in encoded)
    asked = request(texts, outputs=["log_probability", "text"], raw_input_contents=[raw])
    asked.inputs[0].ClearField("contents")
    response = stub.ModelInfer(asked, timeout=LIMIT_S)
    expected = client.translate(texts, model=MODEL)
    assert [(one.name, one.datatype, list(one.shape)) for one in response.outputs] == [
        ("log_probability", "FP32", [2]),
        ("text", "BYTES", [2]),
    ]
    log_probabilities, written = response.raw_output_contents
    assert list(struct.unpack("<2f", log_probabilities)) == [one.log_probability for one in expected]
    answers = [one.text.encode() for one in expected]
    assert written == b"".join(len(one).to_bytes(4, "little") + one for one in answers)


def test_parameters_decode_as_our_options_do(stub: Any, client: Client) -> None:
    cases: list[tuple[dict[str, Any], DecodingOptions]] = [
        ({"beam_size": 4, "num_hypotheses": 3}, DecodingOptions(beam_size=4, num_hypotheses=3)),
        ({"beam_size": 2, "terms": '[["Tier", "Hund"]]'}, DecodingOptions(beam_size=2, terms=[["Tier", "Hund"]])),
        ({"target_prefix": "Im Schnee"}, DecodingOptions(target_prefix="Im Schnee")),
        ({"max_length": 3}, DecodingOptions(max_length=3)),
    ]
    for parameters, options in cases:
        made = values(stub.ModelInfer(request(parameters=parameters), timeout=LIMIT_S))
        (expected,) = client.translate([SENTENCE], model=MODEL, options=options)
        assert made["text"] == [one.text for one in expected.hypotheses], parameters
        assert made["score"] == [one.score for one in expected.hypotheses], parameters


def test_a_stream_has_a_response_for_each_step_as_on_the_other_face(stub: Any, client: Client) -> None:
    for options, parameters in ((DecodingOptions(), {}), (DecodingOptions(beam_size=4), {"beam_size": 4})):
        *steps, completion = [
            event
            for event in client.stream(OTHER, model=RECURRENT, options=options, include_attention=True)
            if isinstance(event, StepEvent | Completion)
        ]
        assert isinstance(completion, Completion)
        outputs = ["text", "log_probability", "attention", "score"]
        asked = request([OTHER], model=RECURRENT, outputs=outputs, id="7", parameters=parameters)
        responses = [one.infer_response for one in stream(stub, asked)]
        assert {(one.id, one.model_name, one.model_version) for one in responses} == {("7", RECURRENT, "1")}
        assert [is_final(one) for one in responses] == [False] * (len(responses) - 1) + [True]
        made = [values(one) for one in responses]
        assert "".join(one["text"][0] for one in made) == completion.text
        assert [one["log_probability"][0] for one in made if "log_probability" in one] == [
            step.log_probability for step in steps if isinstance(step, StepEvent)
        ]
        assert [one["attention"] for one in made if "attention" in one] == [
            list(step.attention) for step in steps if isinstance(step, StepEvent)
        ]
        assert ["score" in one for one in made] == [False] * (len(made) - 1) + [True]
        assert responses[-1].parameters["finish_reason"].string_param == "end_of_sentence"
        assert responses[-1].parameters["num_target_tokens"].int64_param == len(steps)


def test_an_empty_text_has_one_response_the_last(stub: Any) -> None:
    (response,) = stream(stub, request([" "]))
    assert is_final(response.infer_response)
    assert values(response.infer_response)["text"] == [""]


WRONG: list[tuple[pb.ModelInferRequest, str, str]] = [
    (request(model="none"), "NOT_FOUND", "no such model is loaded"),
    (request(model="../etc"), "INVALID_ARGUMENT", "the model's name cannot be one"),
    (request(model=""), "INVALID_ARGUMENT", "no model is named"),
    (request(model_version="9"), "NOT_FOUND", "version 9 of the model is not loaded"),
    (request(model_version="9" * 10), "NOT_FOUND", "version 9999999999 of the model is not loaded"),
    (request(model_version="9" * 19), "INVALID_ARGUMENT", "this can be no label"),
    (request(model_version="stable"), "NOT_FOUND", "no version with this label"),
    (request(model_version="-1"), "INVALID_ARGUMENT", "this can be no label"),
    (request(outputs=["OUTPUT0"]), "INVALID_ARGUMENT", "there is no such output"),
    (request(parameters={"beams": 4}), "INVALID_ARGUMENT", "there is no parameter beams"),
    (request(parameters={"beam_size": 40}), "INVALID_ARGUMENT", "beam_size is 40; it must be from 1 to 32"),
    (request(parameters={"target_prefix": "a" * 9_000}), "INVALID_ARGUMENT", "options: the text has 9000 bytes"),
    (request(["a" * 40_000]), "INVALID_ARGUMENT", "the text has 40000 bytes of UTF-8"),
    (request(["a " * 5_000]), "INVALID_ARGUMENT", "tokens; this model takes at most 256"),
    (request(parameters={"timeout": 1}), "DEADLINE_EXCEEDED", "deadline"),
    (pb.ModelInferRequest(model_name=MODEL), "INVALID_ARGUMENT", "there are 0 inputs"),
    (
        pb.ModelInferRequest(model_name=MODEL, inputs=[INPUT(name="text", datatype="INT32", shape=[1])]),
        "INVALID_ARGUMENT",
        "the datatype of the input text must be BYTES",
    ),
    (
        pb.ModelInferRequest(model_name=MODEL, inputs=[INPUT(name="text", datatype="BYTES", shape=[1, 1])]),
        "INVALID_ARGUMENT",
        "the shape of the input text has 2 axes",
    ),
]


@pytest.mark.parametrize(("wrong", "code", "details"), WRONG)
def test_what_is_wrong_has_its_status_and_is_named(
    stub: Any, wrong: pb.ModelInferRequest, code: str, details: str
) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.ModelInfer(wrong, timeout=LIMIT_S)
    assert raised.value.code().name == code
    assert details in raised.value.details()
    assert "x-request-id" in dict(raised.value.trailing_metadata())


def test_what_is_wrong_in_a_stream_leaves_its_neighbours_alone(stub: Any) -> None:
    (alone,) = [values(one.infer_response)["text"] for one in stream(stub, request(parameters={"max_length": 1}))]
    whole = [one.infer_response for one in stream(stub, request(id="right"))]
    requests = []
    for number, (wrong, _, _) in enumerate(WRONG):
        bad = pb.ModelInferRequest()
        bad.CopyFrom(wrong)
        bad.id = f"wrong {number}"
        requests += [bad, request(id=f"right {number}")]
    responses = stream(stub, *requests)
    assert alone == values(whole[0])["text"]
    for number, (_, code, details) in enumerate(WRONG):
        (failed,) = [one for one in responses if one.infer_response.id == f"wrong {number}"]
        assert details in failed.error_message
        assert failed.infer_response.parameters["grpc_status"].string_param == code
        assert is_final(failed.infer_response)
        right = [one.infer_response for one in responses if one.infer_response.id == f"right {number}"]
        assert [values(one) for one in right] == [values(one) for one in whole]


def test_a_strict_stream_ends_with_the_status_of_an_error(stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stream(stub, request(model="none"), metadata=[("triton_grpc_error", "true")])
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


def test_bytes_that_are_no_message_are_invalid(channel: grpc.Channel) -> None:
    path, damaged = "/inference.GRPCInferenceService/", b"\xff\xff"
    with pytest.raises(grpc.RpcError) as unary:
        channel.unary_unary(f"{path}ModelInfer")(damaged, timeout=LIMIT_S)
    with pytest.raises(grpc.RpcError) as streamed:
        list(channel.stream_stream(f"{path}ModelStreamInfer")(iter([damaged]), timeout=LIMIT_S))
    assert unary.value.code() is streamed.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_models_are_not_loaded_or_unloaded_on_the_port_for_everybody(stub: Any) -> None:
    for call, message in (
        (stub.RepositoryModelLoad, pb.RepositoryModelLoadRequest(model_name=MODEL)),
        (stub.RepositoryModelUnload, pb.RepositoryModelUnloadRequest(model_name=MODEL)),
    ):
        with pytest.raises(grpc.RpcError) as raised:
            call(message)
        assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "on the admin port alone" in raised.value.details()


def statistics(stub: Any, name: str) -> pb.ModelStatistics:
    (found,) = stub.ModelStatistics(pb.ModelStatisticsRequest(name=name)).model_stats
    return found


def test_statistics_count_what_was_done_on_both_faces(stub: Any, client: Client) -> None:
    before = statistics(stub, MODEL)
    stub.ModelInfer(request([SENTENCE, OTHER]), timeout=LIMIT_S)
    stream(stub, request(), request(), request(parameters={"beam_size": 40}))
    client.translate([SENTENCE], model=MODEL)
    after = statistics(stub, MODEL)
    old, new = before.inference_stats, after.inference_stats
    assert after.inference_count - before.inference_count == 5
    assert new.success.count - old.success.count == 4
    assert new.fail.count - old.fail.count == 1
    parts = ("queue", "compute_input", "compute_infer", "compute_output")
    assert [getattr(new, part).count - getattr(old, part).count for part in parts] == [4] * 4
    spent = sum(getattr(new, part).ns - getattr(old, part).ns for part in parts)
    assert spent == pytest.approx(new.success.ns - old.success.ns, rel=1e-6)
    assert sum(batch.compute_infer.count for batch in after.batch_stats) == after.execution_count
    assert after.execution_count > before.execution_count
    assert after.last_inference >= before.last_inference > 0
    everything = stub.ModelStatistics(pb.ModelStatisticsRequest()).model_stats
    assert len(everything) == len(stub.RepositoryIndex(pb.RepositoryIndexRequest()).models)
