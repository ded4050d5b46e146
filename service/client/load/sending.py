"""Sends one request of a job and notes what comes of it. Nothing is tried again: a refusal is a result."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import grpc

from service.client.ending import ending_of_error
from service.client.load.reference import Reference, Streamed
from service.client.load.scenario import EmptySteps
from service.client.load.tally import INCOMPLETE, OK, Outcome
from service.client.options import DecodingOptions
from service.client.requests import stream_request
from service.pb.load_test_pb2 import StreamEmptyStepsRequest
from service.pb.load_test_pb2_grpc import LoadTestServiceStub
from service.pb.translation_pb2_grpc import TranslationServiceStub

if TYPE_CHECKING:
    from service.pb.load_test_pb2_grpc import LoadTestServiceAsyncStub
    from service.pb.translation_pb2_grpc import TranslationServiceAsyncStub

LEAST_PAUSE_S = 0.01
OnToken = Callable[[Outcome], None]


@dataclass(frozen=True)
class TranslateJob:
    """Sentences to translate in one way; references by sentence, where they are known."""

    model: str
    version: int | str
    sentences: Sequence[str]
    options: DecodingOptions
    references: Mapping[str, Reference]


@dataclass(frozen=True)
class WeightedJob:
    """What to send, how it is called, and how often it is sent beside the others."""

    name: str
    weight: float
    job: TranslateJob | EmptySteps


class Send(Protocol):
    """Sends one request and ends once it has."""

    async def __call__(self, outcome: Outcome, order: random.Random) -> None: ...


def make_send(job: TranslateJob | EmptySteps, channel: grpc.aio.Channel, timeout_s: float, on_token: OnToken) -> Send:
    """What sends the requests of a job; on_token is told of each token as it arrives."""
    if isinstance(job, EmptySteps):
        return _SendEmptySteps(job, LoadTestServiceStub(channel), timeout_s, on_token)
    return _SendTranslation(job, TranslationServiceStub(channel), timeout_s, on_token)


class _SendTranslation:
    def __init__(
        self, job: TranslateJob, stub: TranslationServiceAsyncStub, timeout_s: float, on_token: OnToken
    ) -> None:
        self._job, self._stub, self._timeout_s, self._on_token = job, stub, timeout_s, on_token
        self._requests = {
            sentence: stream_request(
                sentence, model=job.model, version=job.version, options=job.options, include_attention=False
            )
            for sentence in job.sentences
        }

    async def __call__(self, outcome: Outcome, order: random.Random) -> None:
        sentence = order.choice(self._job.sentences)
        streamed = Streamed()
        outcome.sent_at = time.monotonic()
        try:
            async for message in self._stub.StreamTranslate(self._requests[sentence], timeout=self._timeout_s):
                if message.HasField("step"):
                    outcome.arrivals.append(time.monotonic())
                    self._on_token(outcome)
                streamed.read(message)
        except grpc.RpcError as error:
            _note(outcome, error)
            return
        outcome.ended_at = time.monotonic()
        outcome.status = OK if streamed.is_complete else INCOMPLETE
        reference = self._job.references.get(sentence)
        if streamed.is_complete and reference is not None:
            outcome.is_verified = True
            outcome.difference = reference.difference(sentence, streamed)


class _SendEmptySteps:
    def __init__(self, steps: EmptySteps, stub: LoadTestServiceAsyncStub, timeout_s: float, on_token: OnToken) -> None:
        self._num_steps, self._stub, self._timeout_s, self._on_token = steps.num_steps, stub, timeout_s, on_token
        self._request = StreamEmptyStepsRequest(
            num_steps=steps.num_steps, step_bytes=steps.step_bytes, steps_per_second=steps.steps_per_second
        )

    async def __call__(self, outcome: Outcome, order: random.Random) -> None:  # noqa: ARG002
        outcome.sent_at = time.monotonic()
        try:
            async for _ in self._stub.StreamEmptySteps(self._request, timeout=self._timeout_s):
                outcome.arrivals.append(time.monotonic())
                self._on_token(outcome)
        except grpc.RpcError as error:
            _note(outcome, error)
            return
        outcome.ended_at = time.monotonic()
        outcome.status = OK if len(outcome.arrivals) == self._num_steps else INCOMPLETE


def _note(outcome: Outcome, error: grpc.RpcError) -> None:
    ending = ending_of_error(error)
    outcome.ended_at = time.monotonic()
    outcome.status = ending.code.name
    outcome.is_refused = ending.is_refused
    outcome.pushback_s = ending.pushback_s


async def pause_after(outcome: Outcome) -> None:
    """Where a request of a closed loop was not answered: as long as the server asked for, and never not at all."""
    if outcome.status != OK:
        await asyncio.sleep(max(outcome.pushback_s or 0.0, LEAST_PAUSE_S))
