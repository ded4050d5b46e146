"""Requests as a client could send them: any message at its edges; those of the Open Inference Protocol mostly with
parts that fit together, since hardly one of random parts gets past the first check."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from hostile.messages import fill, value_of
from hostile.texts import text
from service.inference.parameters import EMPTY_FINAL
from service.inference.tensors import BYTES, INPUT, LENGTH_BYTES
from service.pb import inference_pb2, translation_pb2

FITTING = 0.8
"""Share of the requests for inference whose parts fit together."""
ODD = 0.2
"""Share of these with a parameter that has any value."""
_OPTIONS, _SAMPLING = translation_pb2.DecodingOptions.DESCRIPTOR, translation_pb2.Sampling.DESCRIPTOR
PARAMETER_NAMES = (
    *(field.name for descriptor in (_OPTIONS, _SAMPLING) for field in descriptor.fields),
    *("priority", "timeout", EMPTY_FINAL, "shared_memory_region"),
)
PARAMETER_FIELDS = tuple(inference_pb2.InferParameter.DESCRIPTOR.fields)
LISTS = (
    '[["ba", "ce"]]',
    '["ba"]',
    "[1, 2]",
    "[null]",
    "[[]]",
    "[{}]",
    "{}",
    "null",
    '"ba"',
    "[1e999]",
    "NaN",
    "[" * 2000,
)
"""Texts that stand for lists, or nearly do."""
_CHOICES = {
    FieldDescriptor.CPPTYPE_BOOL: "bool_param",
    FieldDescriptor.CPPTYPE_STRING: "string_param",
    FieldDescriptor.CPPTYPE_FLOAT: "double_param",
    FieldDescriptor.CPPTYPE_UINT64: "uint64_param",
    FieldDescriptor.CPPTYPE_INT32: "int64_param",
}
"""The field of a parameter by the type of the option that it stands for."""


class Parameter(NamedTuple):
    """One parameter of a request: its name, the field of InferParameter that is set, its value."""

    name: str
    choice: str
    value: Any


def fill_request(request: Message, order: random.Random, *, share: float) -> Message:
    """As `fill`; gives the request back."""
    fill(request, order, share=share)
    if isinstance(request, inference_pb2.ModelInferRequest) and order.random() < FITTING:
        options = fill(translation_pb2.DecodingOptions(), order, share=order.choice((0.0, share)))
        parameters = list(parameters_of(options))
        if order.random() < ODD:
            parameters.append(_odd(order))
        texts = [text(order) for _ in range(order.choice((1, 1, 1, 2, 3)))]
        fit_together(request, texts, parameters, is_raw=order.random() < 0.5)
    return request


def fit_together(
    request: inference_pb2.ModelInferRequest, texts: Sequence[str], parameters: Sequence[Parameter], *, is_raw: bool
) -> None:
    """Give the request the texts as its one input, typed or raw, these parameters, and the usual outputs."""
    for field in ("inputs", "outputs", "parameters", "raw_input_contents"):
        request.ClearField(field)
    elements = [one.encode() for one in texts]
    tensor = request.inputs.add(name=INPUT, datatype=BYTES, shape=[len(elements)])
    if is_raw:
        raw = b"".join(len(one).to_bytes(LENGTH_BYTES, "little") + one for one in elements)
        request.raw_input_contents.append(raw)
    else:
        tensor.contents.bytes_contents.extend(elements)
    for parameter in parameters:
        setattr(request.parameters[parameter.name], parameter.choice, parameter.value)


def parameters_of(options: Message) -> Iterator[Parameter]:
    """The options that are set, as parameters of a request."""
    for field, value in options.ListFields():
        if field.name == "sampling":
            yield from parameters_of(value)
        elif field.name == "terms":
            yield Parameter(field.name, "string_param", json.dumps([list(term.phrases) for term in value]))
        elif field.is_repeated:
            yield Parameter(field.name, "string_param", json.dumps(list(value)))
        else:
            yield Parameter(field.name, _CHOICES[field.cpp_type], value)


def _odd(order: random.Random) -> Parameter:
    field = order.choice(PARAMETER_FIELDS)
    value = value_of(field, order)
    if isinstance(value, str) and order.random() < 0.5:
        value = order.choice(LISTS)
    return Parameter(order.choice(PARAMETER_NAMES), field.name, value)
