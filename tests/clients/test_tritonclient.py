"""What tritonclient makes of this server: the protocol is its own, and what is wrong is told as it expects."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.clients.conftest import Served
from tests.clients.page import ADMIN, PUBLIC, ROOT, Block

pytestmark = pytest.mark.clients

PREAMBLE = f"""
import json, queue
import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

client, admin = InferenceServerClient("{PUBLIC}"), InferenceServerClient("{ADMIN}")

def text(*texts, datatype="BYTES", shape=None):
    tensor = InferInput("text", shape or [len(texts)], datatype)
    tensor.set_data_from_numpy(np.array([one.encode() for one in texts], dtype=object).reshape(shape or [len(texts)]))
    return [tensor]

def told(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except InferenceServerException as error:
        return [error.status(), error.message()]
"""
MODEL, SENTENCE = "en-de-transformer", "Two dogs play in the snow."
Run = Callable[[str], str]


def result(run: Run, program: str) -> Any:
    """What the last line of a program's output holds as JSON."""
    return json.loads(run(PREAMBLE + program).splitlines()[-1])


def test_the_wire_numbers_that_we_hold_ours_to_are_tritonclients(served: Served, tritonclient: Run) -> None:
    modules = "tritonclient.grpc.service_pb2 tritonclient.grpc.model_config_pb2"
    made = served.run(Block(f".venv/clients/bin/python tests/clients/wire.py {modules}", ()))
    assert made == (ROOT / "tests" / "contract" / "open_inference.json").read_text()


def test_the_server_describes_itself(tritonclient: Run) -> None:
    told = result(
        tritonclient,
        f"""
print(json.dumps({{
    "is": [client.is_server_live(), client.is_server_ready()],
    "ready": [client.is_model_ready("{MODEL}"), client.is_model_ready("x")],
    "server": client.get_server_metadata(as_json=True)["name"],
    "inputs": client.get_model_metadata("{MODEL}", as_json=True)["inputs"],
    "config": client.get_model_config("{MODEL}", as_json=True)["config"]["name"],
    "statistics": client.get_inference_statistics("{MODEL}", as_json=True)["model_stats"][0]["name"],
    "index": [one["name"] for one in client.get_model_repository_index(as_json=True)["models"]],
    "admin": [one["state"] for one in admin.get_model_repository_index(as_json=True)["models"]],
}}))
""",
    )
    assert (told["is"], told["ready"]) == ([True, True], [True, False])
    assert (told["server"], told["config"], told["statistics"]) == ("stepstream", MODEL, MODEL)
    assert told["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": ["-1"]}]
    assert MODEL in told["index"]
    assert set(told["admin"]) == {"READY"}


def test_what_is_wrong_has_its_status_and_its_words(tritonclient: Run) -> None:
    told = result(
        tritonclient,
        f"""
one = text("{SENTENCE}")
number = InferInput("text", [1], "FP32")
number.set_data_from_numpy(np.array([1.0], dtype=np.float32))
print(json.dumps([
    told(client.infer, "none", one),
    told(client.infer, "{MODEL}", one, model_version="9"),
    told(client.infer, "{MODEL}", [number]),
    told(client.infer, "{MODEL}", text("{SENTENCE}", shape=[1, 1])),
    told(client.infer, "{MODEL}", one, outputs=[InferRequestedOutput("OUTPUT0")]),
    told(client.infer, "{MODEL}", one, parameters={{"beams": 4}}),
    told(client.infer, "{MODEL}", one, timeout=1),
    told(client.load_model, "{MODEL}"),
    told(admin.load_model, "{MODEL}"),
    told(admin.unload_model, "{MODEL}"),
    told(client.get_system_shared_memory_status),
]))
""",
    )
    assert [(status.removeprefix("StatusCode."), message) for status, message in told] == [
        ("NOT_FOUND", "no such model is loaded; ListModels tells which there are"),
        ("NOT_FOUND", "version 9 of the model is not loaded; ListModels tells which are"),
        ("INVALID_ARGUMENT", "the datatype of the input text must be BYTES"),
        ("INVALID_ARGUMENT", "the shape of the input text has 2 axes; it must be [n]"),
        ("INVALID_ARGUMENT", "there is no such output; ModelMetadata tells which there are"),
        ("INVALID_ARGUMENT", "there is no parameter beams"),
        ("DEADLINE_EXCEEDED", told[6][1]),
        ("PERMISSION_DENIED", "models are loaded and unloaded on the admin port alone"),
        ("FAILED_PRECONDITION", "versions are loaded on demand in the mode `explicit` alone"),
        ("FAILED_PRECONDITION", "versions are loaded on demand in the mode `explicit` alone"),
        ("UNIMPLEMENTED", "Method not found!"),
    ]


def test_a_request_of_a_stream_that_fails_leaves_the_others_alone(tritonclient: Run) -> None:
    told = result(
        tritonclient,
        f"""
responses = queue.Queue()
client.start_stream(lambda result, error: responses.put((result, error)))
for number in range(6):
    model = "none" if number == 2 else "{MODEL}"
    client.async_stream_infer(model, text("{SENTENCE}"), request_id=str(number), enable_empty_final_response=True)
texts, errors = {{}}, []
num_ended = 0
while num_ended < 6:
    result, error = responses.get(timeout=120)
    if error is not None:
        errors.append(error.message())
        num_ended += 1
        continue
    response = result.get_response()
    texts[response.id] = texts.get(response.id, "") + result.as_numpy("text")[0].decode()
    num_ended += response.parameters["triton_final_response"].bool_param
client.stop_stream()
print(json.dumps([texts, errors]))
""",
    )
    whole = "Zwei Hunde spielen im Schnee."
    assert told == [
        dict.fromkeys("01345", whole),
        ["no such model is loaded; ListModels tells which there are"],
    ]
