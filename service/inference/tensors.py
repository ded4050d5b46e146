"""Tensors of the Open Inference Protocol, from messages and into them. It knows no model."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from service.errors import InvalidRequestError
from service.pb import inference_pb2 as pb

INPUT = "text"
BYTES, FP32 = "BYTES", "FP32"
LENGTH_BYTES = 4
"""Before each element of raw BYTES: its length, lowest byte first."""

Elements = Sequence[str] | Sequence[float]
"""Of a tensor of one axis: texts for BYTES, numbers for FP32."""


def read_texts(request: pb.ModelInferRequest) -> list[str]:
    """The elements of the one input, BYTES of shape [n]; raises InvalidRequestError."""
    if len(request.inputs) != 1:
        raise InvalidRequestError("there are {number} inputs; there must be one, text", number=len(request.inputs))
    (tensor,) = request.inputs
    if tensor.name != INPUT:
        raise InvalidRequestError("there is no such input; the one input is text")
    if tensor.datatype != BYTES:
        raise InvalidRequestError("the datatype of the input text must be BYTES")
    if len(tensor.shape) != 1:
        raise InvalidRequestError(
            "the shape of the input text has {number} axes; it must be [n]", number=len(tensor.shape)
        )
    if tensor.parameters:
        raise InvalidRequestError("the input text takes no parameters; there is no shared memory")
    elements = list(_elements(request, tensor))
    if tensor.shape[0] != len(elements):
        raise InvalidRequestError(
            "the shape of the input text says {said} elements; there are {number}",
            said=tensor.shape[0],
            number=len(elements),
        )
    try:
        return [element.decode() for element in elements]
    except UnicodeDecodeError as error:
        raise InvalidRequestError("an element of the input text is not UTF-8") from error


def _elements(request: pb.ModelInferRequest, tensor: pb.ModelInferRequest.InferInputTensor) -> Iterator[bytes]:
    if not request.raw_input_contents:
        yield from tensor.contents.bytes_contents
        return
    if tensor.HasField("contents"):
        raise InvalidRequestError("contents and raw_input_contents exclude each other")
    if len(request.raw_input_contents) != 1:
        raise InvalidRequestError(
            "raw_input_contents has {number} entries; there must be one for each input",
            number=len(request.raw_input_contents),
        )
    (raw,) = request.raw_input_contents
    start = 0
    while start < len(raw):
        begin = start + LENGTH_BYTES
        end = begin + int.from_bytes(raw[start:begin], "little")
        if end > len(raw) or begin > len(raw):
            raise InvalidRequestError("raw_input_contents ends within an element")
        yield raw[begin:end]
        start = end


def add_output(response: pb.ModelInferResponse, name: str, elements: Elements, datatype: str, *, is_raw: bool) -> None:
    """One output of shape [len(elements)], typed or raw."""
    declare_output(response, name, datatype, len(elements))
    add_elements(response, -1, elements, datatype, is_raw=is_raw)


def declare_output(response: pb.ModelInferResponse, name: str, datatype: str, length: int) -> None:
    """One output of shape [length], without its elements."""
    response.outputs.add(name=name, datatype=datatype, shape=[length])


def add_elements(
    response: pb.ModelInferResponse, place: int, elements: Elements, datatype: str, *, is_raw: bool
) -> None:
    """Of the output at a place, typed or raw; raw ones of several outputs in the order of these."""
    if is_raw:
        response.raw_output_contents.append(_raw(elements, datatype))
    elif datatype == BYTES:
        response.outputs[place].contents.bytes_contents.extend(str(text).encode() for text in elements)
    else:
        response.outputs[place].contents.fp32_contents.extend(map(float, elements))


def _raw(elements: Elements, datatype: str) -> bytes:
    if datatype == FP32:
        return struct.pack(f"<{len(elements)}f", *elements)
    encoded = [str(text).encode() for text in elements]
    return b"".join(len(one).to_bytes(LENGTH_BYTES, "little") + one for one in encoded)
