"""The typed clients against a scripted service on a real socket."""

import asyncio
import gc
import socket
import time
from contextlib import aclosing, closing

import grpc
import pytest

from service.client.client import AsyncClient, Client
from service.client.errors import (
    DeadlineError,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    ServerError,
    ServerUnreachableError,
    StepstreamError,
    error_from_status,
)
from service.client.options import DecodingOptions
from service.client.types import Completion, FinishReason, StepEvent
from service.pb import translation_pb2 as pb

LIMIT_S = 5.0


@pytest.fixture
def client(fake_service):
    with Client(fake_service.address) as client:
        yield client


def test_translations_come_in_the_order_of_the_texts(client):
    translations = client.translate(["one", "two words"], model="shout")
    assert [translation.text for translation in translations] == ["ONE", "TWO WORDS"]
    assert [translation.num_target_tokens for translation in translations] == [2, 3]
    assert {(translation.finish_reason, translation.version) for translation in translations} == {
        (FinishReason.END_OF_SENTENCE, 7)
    }


def test_every_option_reaches_the_server(client, fake_service):
    client.translate(["a"], model="shout", version=3, options=DecodingOptions(max_length=9), timeout_s=4.0)
    list(client.stream("b", model="shout", version=2, options=DecodingOptions(max_length=8), include_attention=True))
    unary, stream = fake_service.requests
    assert (unary.model, unary.version, unary.options.max_length) == ("shout", 3, 9)
    assert (stream.model, stream.version, stream.options.max_length, stream.include_attention) == ("shout", 2, 8, True)
    assert fake_service.deadlines_s[0] == pytest.approx(4.0, abs=1.0)
    assert fake_service.deadlines_s[1] is None


def test_a_stream_is_its_steps_and_then_one_completion(client):
    *steps, completion = client.stream("two words", model="shout")
    assert all(isinstance(step, StepEvent) for step in steps)
    assert [step.index for step in steps] == [0, 1, 2]
    assert isinstance(completion, Completion)
    assert "".join(step.text_delta for step in steps) == completion.text == "TWO WORDS"
    assert completion.num_target_tokens == len(steps)
    assert completion.timings.total_ms == 3.0
    assert steps[0].most_attended is None


def test_with_attention_each_step_names_its_most_attended_piece(client):
    *steps, _ = client.stream("two words", model="shout", include_attention=True)
    assert [step.most_attended[0] for step in steps] == ["▁two", "▁words", "</s>"]
    assert steps[0].most_attended[1] == pytest.approx(0.75)


def test_an_unknown_finish_reason_does_not_lose_the_translation(client, fake_service):
    fake_service.finish_reason = 99
    (translation,) = client.translate(["one"], model="shout")
    assert (translation.text, translation.finish_reason) == ("ONE", FinishReason.OTHER)


def test_a_stream_without_completion_is_an_error(client, fake_service):
    with pytest.raises(ServerError, match="before it was complete"):
        list(client.stream(fake_service.incomplete_text, model="shout"))


def test_models_are_listed_without_and_shown_with_their_certificate(client, add_model):
    add_model("rnn", 4, family="recurrent")
    listed = client.list_models()
    assert [(model.name, model.version, model.family) for model in listed] == [
        ("shout", 1, "transformer"),
        ("rnn", 4, "recurrent"),
    ]
    assert listed[0].certificate_json == ""
    assert "golden" in client.get_model("rnn", version=4).certificate_json


def test_closing_a_stream_cancels_the_call_on_the_server(client, fake_service):
    with closing(client.stream(fake_service.endless_text, model="shout")) as events:
        next(events)
        assert not fake_service.cancelled.is_set()
    assert fake_service.cancelled.wait(LIMIT_S)


def test_dropping_a_stream_cancels_the_call_on_the_server(client, fake_service):
    for _ in client.stream(fake_service.endless_text, model="shout"):
        break
    gc.collect()
    assert fake_service.cancelled.wait(LIMIT_S)


async def test_closing_an_async_stream_cancels_the_call_on_the_server(fake_service):
    async with AsyncClient(fake_service.address) as client:
        async with aclosing(client.stream(fake_service.endless_text, model="shout")) as events:
            await anext(events)
            assert not fake_service.cancelled.is_set()
        assert await asyncio.to_thread(fake_service.cancelled.wait, LIMIT_S)


async def test_dropping_an_async_stream_cancels_the_call_on_the_server(fake_service):
    async with AsyncClient(fake_service.address) as client:
        async for _ in client.stream(fake_service.endless_text, model="shout"):
            break
        gc.collect()
        assert await asyncio.to_thread(fake_service.cancelled.wait, LIMIT_S)


async def test_cancelling_the_task_that_reads_a_stream_cancels_the_call_on_the_server(fake_service):
    async def read() -> None:
        async for _ in client.stream(fake_service.endless_text, model="shout"):
            started.set()

    started = asyncio.Event()
    async with AsyncClient(fake_service.address) as client:
        task = asyncio.create_task(read())
        await asyncio.wait_for(started.wait(), LIMIT_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(fake_service.cancelled.wait, LIMIT_S)


async def test_both_clients_give_the_same_answers(client, fake_service):
    async with AsyncClient(fake_service.address) as other:
        stream = [event async for event in other.stream("two words", model="shout", include_attention=True)]
        assert stream == list(client.stream("two words", model="shout", include_attention=True))
        assert await other.translate(["a", "b"], model="shout") == client.translate(["a", "b"], model="shout")
        pairs = [("a", "b c"), ("d", "e")]
        assert await other.score(pairs, model="shout") == client.score(pairs, model="shout")
        assert await other.list_models() == client.list_models()
        assert await other.get_model("shout") == client.get_model("shout")


@pytest.mark.parametrize(
    ("code", "details", "named"),
    [
        (grpc.StatusCode.NOT_FOUND, "no model 'x'", ModelNotFoundError),
        (grpc.StatusCode.INVALID_ARGUMENT, "the text is too long", InvalidRequestError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full", OverloadedError),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "SERVER: Received message larger than max (9 vs. 4)",
            InvalidRequestError,
        ),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", DeadlineError),
        (grpc.StatusCode.UNAVAILABLE, "the server is stopping", ServerUnreachableError),
        (grpc.StatusCode.INTERNAL, "two\nlines", ServerError),
    ],
)
async def test_each_status_becomes_one_named_error_of_one_line(client, fake_service, code, details, named):
    fake_service.failures["bad"] = [(code, details)] * 70
    raised = []
    with pytest.raises(StepstreamError) as unary:
        client.translate(["bad"], model="shout")
    with pytest.raises(StepstreamError) as stream:
        list(client.stream("bad", model="shout"))
    with pytest.raises(StepstreamError) as score:
        client.score([("bad", "a")], model="shout")
    async with AsyncClient(fake_service.address) as other:
        with pytest.raises(StepstreamError) as async_unary:
            await other.translate(["bad"], model="shout")
        with pytest.raises(StepstreamError) as async_stream:
            [event async for event in other.stream("bad", model="shout")]
        with pytest.raises(StepstreamError) as async_score:
            await other.score([("bad", "a")], model="shout")
        with pytest.raises(StepstreamError) as interactive:
            async with other.interactive("bad", model="shout") as translation:
                [event async for event in translation]
    calls = (unary, stream, score, async_unary, async_stream, async_score, interactive)
    raised = [info.value for info in calls]
    assert {type(error) for error in raised} == {named}
    assert len({str(error) for error in raised}) == 1
    assert "\n" not in str(raised[0])


def test_every_status_has_a_message():
    for code in grpc.StatusCode:
        assert str(error_from_status(code, "", "host:1"))


def test_a_time_limit_ends_the_call(client, fake_service):
    start_s = time.monotonic()
    with pytest.raises(DeadlineError):
        list(client.stream(fake_service.endless_text, model="shout", timeout_s=0.2))
    assert time.monotonic() - start_s < 2.0
    assert fake_service.cancelled.wait(LIMIT_S)


@pytest.mark.parametrize("options", [{"options": DecodingOptions(max_length=2**40)}, {"version": 2**70}])
def test_a_number_that_no_message_carries_is_an_invalid_request(client, options):
    with pytest.raises(InvalidRequestError):
        client.translate(["a"], model="shout", **options)


def test_text_that_is_not_unicode_is_an_invalid_request(client):
    with pytest.raises(InvalidRequestError, match="not valid Unicode"):
        list(client.stream("\udcff", model="shout"))
    with pytest.raises(InvalidRequestError, match="not valid Unicode"):
        client.score([("a", "\udcff")], model="shout")


def test_a_refused_connection_fails_at_once_and_names_the_address():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        start_s = time.monotonic()
        with Client(address) as client, pytest.raises(ServerUnreachableError, match=f"no server answers at {address}"):
            client.list_models()
    assert time.monotonic() - start_s < 2.0


async def test_a_peer_that_never_answers_fails_within_the_connect_timeout():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        start_s = time.monotonic()
        async with AsyncClient(address, connect_timeout_s=0.5) as client:
            with pytest.raises(ServerUnreachableError, match=f"no server answers at {address}"):
                [event async for event in client.stream("a", model="shout")]
    assert 0.3 < time.monotonic() - start_s < 3.0


def test_an_answer_of_another_number_of_translations_is_an_error(client, fake_service, monkeypatch):
    monkeypatch.setattr(fake_service, "answer", lambda _: pb.TranslateResponse())
    with pytest.raises(ServerError, match="0 translations of 1 texts"):
        client.translate(["a"], model="shout")


def test_an_answer_of_another_number_of_scores_is_an_error(client, fake_service, monkeypatch):
    monkeypatch.setattr(fake_service, "scores", lambda _: pb.ScoreResponse())
    with pytest.raises(ServerError, match="0 scores of 1 pairs"):
        client.score([("a", "b")], model="shout")
