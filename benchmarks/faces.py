"""Clients of the server's two protocols that ask for the same translations, and the server's time for them."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import grpc.aio

from benchmarks.load import Answer, Client, Texts, stream
from service.inference.responses import FINAL
from service.inference.tensors import BYTES, INPUT, LENGTH_BYTES
from service.pb import inference_pb2
from service.pb.inference_pb2_grpc import GRPCInferenceServiceStub
from service.pb.translation_pb2_grpc import TranslationServiceStub


def own_face(texts: Texts) -> Client:
    """Each text is a call of StreamTranslate."""

    async def client(channel: grpc.aio.Channel, order: random.Random, answers: list[Answer]) -> None:
        stub = TranslationServiceStub(channel)
        while True:
            await stream(stub, texts, order.choice(texts.sentences), _asked(answers))

    return client


def inference_face(texts: Texts, *, is_raw: bool) -> Client:
    """One call of ModelStreamInfer for each client, as tritonclient has it, with one text after another; raw bytes, as
    tritonclient writes them, or typed contents."""

    async def client(channel: grpc.aio.Channel, order: random.Random, answers: list[Answer]) -> None:
        call = GRPCInferenceServiceStub(channel).ModelStreamInfer()
        responses = aiter(call)
        while True:
            request = infer_request(texts.model, order.choice(texts.sentences), is_raw=is_raw)
            answer = _asked(answers)
            await call.write(request)
            is_last = False
            while not is_last:
                response = await anext(responses)
                answer.arrivals.append(time.perf_counter())
                is_last = response.infer_response.parameters[FINAL].bool_param
            answer.completed_at = answer.arrivals[-1]
            answer.num_tokens = len(answer.arrivals)

    return client


def infer_request(model: str, text: str, *, is_raw: bool) -> inference_pb2.ModelInferRequest:
    """One text, with the usual outputs."""
    request = inference_pb2.ModelInferRequest(model_name=model)
    tensor = request.inputs.add(name=INPUT, datatype=BYTES, shape=[1])
    element = text.encode()
    if is_raw:
        request.raw_input_contents.append(len(element).to_bytes(LENGTH_BYTES, "little") + element)
    else:
        tensor.contents.bytes_contents.append(element)
    return request


def cpu_seconds(pid: int) -> float:
    """Of all threads of a process, so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _asked(answers: list[Answer]) -> Answer:
    answer = Answer(time.perf_counter())
    answers.append(answer)
    return answer
