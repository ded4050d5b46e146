"""Whatever is asked for by the Open Inference Protocol, damaged or not, the answer is in the catalogue."""

from __future__ import annotations

import random
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostile.messages import mutate
from service.pb import inference_pb2 as pb
from tests.faults.security.answers import LIMIT_S, MODEL, SENTENCE
from tests.faults.security.test_p15_errors_tell_nothing import NAMES, TEXTS, is_in_the_catalogue

PATH = "/inference.GRPCInferenceService/"
PERMITTED = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
KNOWN = (
    *(
        "max_length",
        "seed",
        "beam_size",
        "num_hypotheses",
        "length_penalty",
        "patience",
        "min_length",
        "top_k",
        "top_p",
    ),
    *("suppress_tokens", "target_prefix", "target_prefix_ids", "terms", "untranslated", "sampling", "temperature"),
    *("return_alternatives", "priority", "timeout", "triton_enable_empty_final_response", "num_candidates"),
)
LISTS = st.sampled_from(["[]", "[[]]", '["a"]', '[["Hund"]]', "[1]", "[null]", "{}", "[" * 5_000, "1e999", '"\\ud800"'])
PARAMETERS = st.one_of(
    st.builds(pb.InferParameter),
    st.builds(pb.InferParameter, bool_param=st.booleans()),
    st.builds(pb.InferParameter, int64_param=st.integers(-2, 40) | st.integers(-(2**63), 2**63 - 1)),
    st.builds(pb.InferParameter, uint64_param=st.integers(0, 2**64 - 1)),
    st.builds(pb.InferParameter, double_param=st.floats()),
    st.builds(pb.InferParameter, string_param=TEXTS | LISTS),
)
CONTENTS = st.builds(
    pb.InferTensorContents,
    bytes_contents=st.lists(TEXTS.map(str.encode) | st.binary(max_size=8), max_size=3),
    fp32_contents=st.lists(st.floats(width=32), max_size=1),
)
TENSORS = st.builds(
    pb.ModelInferRequest.InferInputTensor,
    name=st.sampled_from(["text", "text", "text", "", "INPUT0"]),
    datatype=st.sampled_from(["BYTES", "BYTES", "BYTES", "FP32", "bytes"]),
    shape=st.sampled_from([[1], [1], [2], [], [0], [1, 1], [-1], [2**62]]),
    contents=CONTENTS,
)
SOUND = st.builds(
    lambda text: pb.ModelInferRequest.InferInputTensor(
        name="text", datatype="BYTES", shape=[1], contents=pb.InferTensorContents(bytes_contents=[text.encode()])
    ),
    TEXTS,
)
OUTPUTS = st.builds(
    pb.ModelInferRequest.InferRequestedOutputTensor,
    name=st.sampled_from(["text", "score", "log_probability", "attention"]) | TEXTS,
)
REQUESTS = st.builds(
    pb.ModelInferRequest,
    model_name=st.just(MODEL) | st.just(MODEL) | NAMES,
    model_version=st.just("") | st.sampled_from(["", "1", "2", "-1", "stable"]) | TEXTS,
    id=TEXTS,
    inputs=st.lists(SOUND, min_size=1, max_size=1) | st.lists(TENSORS, max_size=2),
    outputs=st.just([]) | st.lists(OUTPUTS, max_size=2),
    parameters=st.dictionaries(st.sampled_from(KNOWN), PARAMETERS, max_size=2)
    | st.dictionaries(TEXTS, PARAMETERS, max_size=1),
    raw_input_contents=st.just([]) | st.just([]) | st.lists(st.binary(max_size=12), max_size=1),
)


def statuses(channel: grpc.Channel, message: bytes) -> list[tuple[str, str]]:
    """Of a message sent to both methods, and of what the stream says of it."""
    found = []
    calls: list[Any] = [
        lambda: channel.unary_unary(f"{PATH}ModelInfer")(message, timeout=LIMIT_S),
        lambda: list(channel.stream_stream(f"{PATH}ModelStreamInfer")(iter([message]), timeout=LIMIT_S)),
    ]
    for call in calls:
        try:
            answer = call()
        except grpc.RpcError as error:
            found.append((error.code().name, error.details()))
            continue
        found.append(("OK", ""))
        for one in map(pb.ModelStreamInferResponse.FromString, answer if isinstance(answer, list) else ()):
            if one.error_message:
                found.append((one.infer_response.parameters["grpc_status"].string_param, one.error_message))
    return found


def assert_tells_nothing(channel: grpc.Channel, message: bytes) -> None:
    for name, details in statuses(channel, message):
        assert name in PERMITTED, (name, details)
        assert name == "OK" or is_in_the_catalogue(details), (name, details)


@pytest.mark.fault(4, 5, 8, 9, 11, 12)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(request=REQUESTS)
def test_whatever_is_asked_for_here_the_answer_is_in_the_catalogue(
    channel: grpc.Channel, request: pb.ModelInferRequest
) -> None:
    """OK, INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED or DEADLINE_EXCEEDED, in words of the catalogue."""
    assert_tells_nothing(channel, request.SerializeToString())


@pytest.mark.fault(1, 2, 3)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_a_damaged_request_harms_nothing_here_either(channel: grpc.Channel, seed: int) -> None:
    """The same of bytes that were a request."""
    tensor = pb.ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(SENTENCE.encode())
    request = pb.ModelInferRequest(model_name=MODEL, id="one", inputs=[tensor])
    request.parameters["beam_size"].int64_param = 2
    request.parameters["terms"].string_param = '[["Mann"]]'
    assert_tells_nothing(channel, mutate(request.SerializeToString(), random.Random(seed)))
