"""Calls with any bytes and any metadata, and what comes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from service.pb import translation_pb2 as pb

SERVICE = "/stepstream.v1.TranslationService/"
MODEL = "en-de-transformer"
SENTENCE = "A man in a blue shirt is standing on a ladder."
LIMIT_S = 60.0

REQUESTS: dict[str, Any] = {
    "Translate": pb.TranslateRequest(model=MODEL, texts=[SENTENCE]),
    "StreamTranslate": pb.StreamTranslateRequest(model=MODEL, text=SENTENCE),
    "TranslateInteractive": pb.TranslateInteractiveRequest(start=pb.StreamTranslateRequest(model=MODEL, text=SENTENCE)),
    "Score": pb.ScoreRequest(model=MODEL, pairs=[pb.ScorePair(source=SENTENCE, target="Ein Mann.")]),
    "ListModels": pb.ListModelsRequest(),
    "GetModel": pb.GetModelRequest(model=MODEL),
}
RESPONSES: dict[str, Any] = {
    "Translate": pb.TranslateResponse,
    "StreamTranslate": pb.StreamTranslateResponse,
    "TranslateInteractive": pb.TranslateInteractiveResponse,
    "Score": pb.ScoreResponse,
    "ListModels": pb.ListModelsResponse,
    "GetModel": pb.GetModelResponse,
}
STREAMED = ("StreamTranslate", "TranslateInteractive")


@dataclass(frozen=True)
class Answer:
    """The status of one call, with the messages that came before it."""

    code: grpc.StatusCode
    details: str
    trailing: dict[str, str]
    messages: tuple[Any, ...] = ()

    @property
    def name(self) -> str:
        return self.code.name


def ask(
    channel: grpc.Channel,
    method: str,
    *messages: Any,
    metadata: Sequence[tuple[str, str]] = (),
    compression: grpc.Compression | None = None,
) -> Answer:
    """One call of a method of the service, or of a path; messages are messages or bytes, by default a right request."""
    sent = [one if isinstance(one, bytes) else one.SerializeToString() for one in messages or (REQUESTS[method],)]
    path = method if method.startswith("/") else SERVICE + method
    received: list[Any] = []
    options: dict[str, Any] = {"metadata": tuple(metadata), "timeout": LIMIT_S, "compression": compression}
    call: Any
    try:
        if method == "TranslateInteractive":
            call = channel.stream_stream(path)(iter(sent), **options)
            received.extend(call)
        elif method == "StreamTranslate":
            call = channel.unary_stream(path)(sent[0], **options)
            received.extend(call)
        else:
            response, call = channel.unary_unary(path).with_call(sent[0], **options)
            received.append(response)
    except grpc.RpcError as error:
        call = error
    trailing = dict(call.trailing_metadata() or ())
    kind = RESPONSES.get(method)
    return Answer(
        call.code(),
        call.details() or "",
        trailing,
        tuple(kind.FromString(one) for one in received) if kind is not None else tuple(received),
    )
