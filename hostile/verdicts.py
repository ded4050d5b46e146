"""What a status may be and what its details may say, whatever the client did."""

from __future__ import annotations

import re
from dataclasses import dataclass

import grpc

from hostile.texts import MARKER
from service.pb import inference_pb2


@dataclass(frozen=True)
class Status:
    """How a call ended, or one request of a stream."""

    code: grpc.StatusCode
    details: str


PERMITTED = frozenset(
    {
        grpc.StatusCode.OK,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
"""Of a sound server that nobody stops, for a client that neither cancels nor sets a deadline that passes."""
CLIENT_GAVE_UP = frozenset(
    {
        (grpc.StatusCode.INTERNAL, "Internal error from Core"),
        (grpc.StatusCode.CANCELLED, "Locally cancelled by application!"),
    }
)
"""What grpc's client makes of a call that ends, whatever its status, while it still sends a request, or says that there
are no more."""
_INTERNALS = {
    "a traceback": re.compile(r"Traceback|\bline \d+"),
    "a path": re.compile(r"\.py\b|\.onnx\b|(?<![\w.])/(?:usr|home|root|tmp|opt|app|work|proc|etc|var|lib)\b"),
    "a class": re.compile(r"<class|\b[A-Za-z]\w*(?:Error|Exception)\b|\bobject at 0x"),
    "a module": re.compile(r"\b(?:service|onnxruntime|numpy|google|sentencepiece|grpc|asyncio)\.[a-z_]+"),
    "what the client wrote": re.compile(re.escape(MARKER)),
}


def told_internals(details: str) -> str | None:
    """What of the server's inside or of another's text a status's details tell; None where nothing."""
    for what, pattern in _INTERNALS.items():
        if pattern.search(details):
            return what
    return None


def refusal_in(response: object) -> Status | None:
    """How one request of a stream for inference failed, by its last response; None of any other message. A refusal
    without a status counts as UNKNOWN."""
    if not isinstance(response, inference_pb2.ModelStreamInferResponse) or not response.error_message:
        return None
    name = response.infer_response.parameters["grpc_status"].string_param
    return Status(getattr(grpc.StatusCode, name, grpc.StatusCode.UNKNOWN), response.error_message)
