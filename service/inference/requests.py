"""From requests of the Open Inference Protocol to those of our own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from service.errors import InvalidRequestError
from service.inference.parameters import Parameters, read_parameters
from service.inference.tensors import BYTES, FP32, read_texts
from service.model.manifest import MAX_VERSION
from service.pb import inference_pb2, translation_pb2

ATTENTION = "attention"
OUTPUTS: Mapping[str, str] = MappingProxyType({"text": BYTES, "score": FP32, "log_probability": FP32})
"""The datatype of each output that a request gives unless it asks for others."""
STREAM_OUTPUTS: Mapping[str, str] = MappingProxyType({**OUTPUTS, ATTENTION: FP32})
"""The same of a stream, with what is given on demand alone: clients that ask for all they are told of would
pay for it."""
MAX_ID_BYTES = 256
"""An id comes back with every step."""


class Which(NamedTuple):
    """A version of a model by its number or label; 0 and an empty label: the newest."""

    version: int
    label: str


@dataclass(frozen=True)
class Asked:
    """What a request wants back: its id, outputs in order, and whether as raw bytes."""

    id: str
    outputs: tuple[str, ...]
    is_raw: bool


def which(version: str) -> Which:
    """Of a version as the protocol writes it."""
    if re.fullmatch(r"\d{0,19}", version, re.ASCII) and int(version or 0) <= MAX_VERSION:
        return Which(int(version or 0), "")
    return Which(0, version)


def asked(request: inference_pb2.ModelInferRequest, outputs: Iterable[str]) -> Asked:
    """outputs: those that there are; raises InvalidRequestError for another one."""
    if len(request.id.encode()) > MAX_ID_BYTES:
        raise InvalidRequestError("the id is longer than {most} bytes", most=MAX_ID_BYTES)
    names = [output.name for output in request.outputs]
    if not set(names) <= set(outputs):
        raise InvalidRequestError("there is no such output; ModelMetadata tells which there are")
    if len(set(names)) < len(names):
        raise InvalidRequestError("an output is asked for twice")
    if any(output.parameters for output in request.outputs):
        raise InvalidRequestError("an output takes no parameters; there is no shared memory and no classification")
    return Asked(request.id, tuple(names or OUTPUTS), bool(request.raw_input_contents))


def translate_request(
    request: inference_pb2.ModelInferRequest,
) -> tuple[translation_pb2.TranslateRequest, Parameters]:
    """Raises InvalidRequestError."""
    texts, parameters = read_texts(request), read_parameters(request.parameters)
    if len(texts) > 1 and parameters.options.num_hypotheses > 1:
        raise InvalidRequestError("num_hypotheses above 1 is for a single text")
    version, label = which(request.model_version)
    translate = translation_pb2.TranslateRequest(
        model=request.model_name,
        version=version,
        label=label,
        texts=texts,
        options=parameters.options,
        priority=parameters.priority,
    )
    return translate, parameters


def stream_request(
    request: inference_pb2.ModelInferRequest, wanted: Asked
) -> tuple[translation_pb2.StreamTranslateRequest, Parameters]:
    """Raises InvalidRequestError."""
    texts, parameters = read_texts(request), read_parameters(request.parameters)
    if len(texts) != 1:
        raise InvalidRequestError("there are {number} texts; a request of a stream has one", number=len(texts))
    if parameters.options.num_hypotheses > 1:
        raise InvalidRequestError("num_hypotheses above 1 is for ModelInfer")
    version, label = which(request.model_version)
    translate = translation_pb2.StreamTranslateRequest(
        model=request.model_name,
        version=version,
        label=label,
        text=texts[0],
        options=parameters.options,
        priority=parameters.priority,
        include_attention=ATTENTION in wanted.outputs,
    )
    return translate, parameters
