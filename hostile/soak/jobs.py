"""Requests whose answers are known: what each says on an idle server is what it must say ever after, byte for byte."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import grpc.aio
from google.protobuf.message import Message

from hostile.methods import BY_NAME, Method
from hostile.texts import MODEL, sentences
from service.pb import translation_pb2 as pb

KINDS = ("greedy", "beam", "sampled", "attention", "unary", "score")
LONG_S = 120.0
"""A deadline that no job reaches."""


@dataclass(frozen=True)
class Job:
    """One request of a kind."""

    kind: str
    method: Method
    request: bytes


def make_jobs(seed: int, versions: Iterable[int], *, each: int) -> list[Job]:
    """`each` jobs of every kind and version."""
    order = random.Random(seed)
    return [_job(kind, version, order) for kind in KINDS for version in versions for _ in range(each)]


def _job(kind: str, version: int, order: random.Random) -> Job:
    text, *others = sentences(order, 3)
    options = pb.DecodingOptions(min_length=order.choice((0, 0, 8, 40)))
    match kind:
        case "score":
            request: Message = pb.ScoreRequest(
                model=MODEL, version=version, pairs=[pb.ScorePair(source=text, target=other) for other in others]
            )
            return Job(kind, BY_NAME["Score"], request.SerializeToString())
        case "unary":
            request = pb.TranslateRequest(model=MODEL, version=version, texts=[text, *others], options=options)
            return Job(kind, BY_NAME["Translate"], request.SerializeToString())
        case "beam":
            options.beam_size = options.num_hypotheses = order.randint(2, 6)
        case "sampled":
            options.seed = order.randrange(2**63)
            options.sampling.temperature = 1.5
    request = pb.StreamTranslateRequest(
        model=MODEL, version=version, text=text, options=options, include_attention=kind == "attention"
    )
    return Job(kind, BY_NAME["StreamTranslate"], request.SerializeToString())


def start(channel: grpc.aio.Channel, job: Job, timeout_s: float) -> Any:
    """The call of a job, its messages as bytes."""
    make: Any = channel.unary_stream if job.method.responses_stream else channel.unary_unary
    return make(job.method.path)(job.request, timeout=timeout_s)


async def answer(channel: grpc.aio.Channel, job: Job, timeout_s: float = LONG_S) -> bytes:
    """Everything that comes back, without times; raises grpc.aio.AioRpcError."""
    call = start(channel, job, timeout_s)
    messages = [message async for message in call] if job.method.responses_stream else [await call]
    return told(job, messages)


def told(job: Job, messages: Iterable[bytes]) -> bytes:
    """All that the messages of an answer say, without the times that they tell."""
    return b"|".join(_without_times(job.method.response.FromString(message)) for message in messages)


def _without_times(message: Message) -> bytes:
    if isinstance(message, pb.StreamTranslateResponse) and message.HasField("completion"):
        message.completion.ClearField("timings")
    return message.SerializeToString(deterministic=True)
