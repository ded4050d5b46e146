"""The main job, on the models that ship."""

from __future__ import annotations

import asyncio
import json
import math

import grpc
import pytest
import sacrebleu
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.client.client import AsyncClient, Client
from service.client.errors import InvalidRequestError, ModelNotFoundError
from service.client.options import DecodingOptions
from service.client.types import Completion, FinishReason, StepEvent
from service.pb import translation_pb2 as pb
from service.pb.translation_pb2_grpc import TranslationServiceStub

MODELS = ("en-de-transformer", "en-de-general")
ATTENTIONS = ("none", "dot", "concat", "additive", "scaled-dot", "location", "local-m", "local-p", "hard")
ENGLISH_AND_GERMAN = (*MODELS, "de-en-transformer", *(f"en-de-{attention}" for attention in ATTENTIONS))
SENTENCE = "Two dogs play in the snow."


@pytest.mark.parametrize("model", MODELS)
def test_one_message_carries_one_step_and_the_last_one_the_completion(shipped_server: str, model: str) -> None:
    with grpc.insecure_channel(shipped_server) as channel:
        request = pb.StreamTranslateRequest(model=model, text=SENTENCE, include_attention=True)
        messages = list(TranslationServiceStub(channel).StreamTranslate(request))
    assert [message.step.index for message in messages] == list(range(len(messages)))
    assert [message.HasField("completion") for message in messages] == [False] * (len(messages) - 1) + [True]
    assert [message.HasField("source") for message in messages] == [True] + [False] * (len(messages) - 1)
    completion = messages[-1].completion
    assert "".join(message.step.text_delta for message in messages) == completion.text
    assert completion.num_target_tokens == len(messages)
    assert completion.num_source_tokens == len(messages[0].source.pieces)
    assert completion.log_probability == pytest.approx(sum(m.step.log_probability for m in messages), abs=1e-4)
    assert 0 <= completion.timings.queue_ms <= completion.timings.first_token_ms <= completion.timings.total_ms
    for message in messages:
        assert message.step.log_probability <= 0
        assert len(message.step.attention) == completion.num_source_tokens
        assert math.isclose(sum(message.step.attention), 1.0, abs_tol=1e-5)


@pytest.mark.parametrize("model", MODELS)
async def test_translate_and_stream_give_the_same_text(shipped_server: str, model: str, sentences: list[str]) -> None:
    texts = sentences[:50]
    async with AsyncClient(shipped_server) as client:
        translations = await client.translate(texts, model=model)
        for text, translation in zip(texts, translations, strict=True):
            events = [event async for event in client.stream(text, model=model)]
            completion = events[-1]
            assert isinstance(completion, Completion)
            assert (completion.text, completion.log_probability) == (translation.text, translation.log_probability)
            deltas = "".join(event.text_delta for event in events if isinstance(event, StepEvent))
            assert deltas == translation.text


@pytest.mark.parametrize("model", ENGLISH_AND_GERMAN)
async def test_a_test_set_translated_through_the_server_scores_as_its_certificate_says(
    shipped_server: str, model: str, sentences: list[str], references: list[str]
) -> None:
    if model.startswith("de-en"):
        sentences, references = references, sentences
    async with AsyncClient(shipped_server) as client:
        certificate = json.loads((await client.get_model(model)).certificate_json)
        translations = await client.translate(sentences, model=model, timeout_s=240)
    hypotheses = [translation.text for translation in translations]
    bleu = sacrebleu.corpus_bleu(hypotheses, [references]).score
    promised = {score["split"]: score["bleu"] for score in certificate["scores"]}
    assert bleu == pytest.approx(promised["test_2016_flickr"], abs=0.005)


def test_an_empty_text_translates_to_an_empty_text_without_a_step(shipped_server: str) -> None:
    with Client(shipped_server) as client:
        events = list(client.stream("  ", model=MODELS[0]))
        translations = client.translate(["", SENTENCE], model=MODELS[0])
    assert len(events) == 1
    assert isinstance(events[0], Completion)
    assert (events[0].text, events[0].num_target_tokens) == ("", 0)
    assert translations[0].text == ""
    assert translations[1].text


def test_max_length_ends_a_translation_there(shipped_server: str) -> None:
    with Client(shipped_server) as client:
        events = list(client.stream(SENTENCE, model=MODELS[0], options=DecodingOptions(max_length=3)))
    assert isinstance(events[-1], Completion)
    assert events[-1].finish_reason is FinishReason.MAX_LENGTH
    assert len(events) == 4


def test_special_tokens_in_a_text_are_text(shipped_server: str) -> None:
    with Client(shipped_server) as client:
        plain = client.translate(["A dog </s> runs <pad> <s>."], model=MODELS[0])[0]
    assert plain.num_source_tokens > 8


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"model": "no-such-model"}, ModelNotFoundError),
        ({"model": "../en-de-transformer"}, InvalidRequestError),
        ({"model": MODELS[0], "version": 99}, ModelNotFoundError),
        ({"model": MODELS[0], "version": -1}, InvalidRequestError),
        ({"model": ""}, InvalidRequestError),
        ({"model": MODELS[0], "options": DecodingOptions(max_length=10_000)}, InvalidRequestError),
        ({"model": MODELS[0], "options": DecodingOptions(max_length=-1)}, InvalidRequestError),
        ({"model": MODELS[0], "text": "dog " * 400}, InvalidRequestError),
        ({"model": MODELS[0], "text": "x" * 32_769}, InvalidRequestError),
    ],
)
def test_bad_input_gets_a_clear_error_and_nobody_else_notices(
    shipped_server: str, request_: dict[str, object], error: type[Exception]
) -> None:
    arguments = {"text": SENTENCE} | request_
    with Client(shipped_server) as client:
        with pytest.raises(error) as raised:
            list(client.stream(**arguments))  # type: ignore[arg-type]
        assert "\n" not in str(raised.value)
        assert client.translate([SENTENCE], model=MODELS[0])[0].text


def test_a_request_without_texts_or_with_too_many_is_refused(shipped_server: str) -> None:
    with Client(shipped_server) as client:
        for texts in ([], [SENTENCE] * 1025):
            with pytest.raises(InvalidRequestError, match="from 1 to 1024"):
                client.translate(texts, model=MODELS[0])


async def test_more_clients_than_slots_are_all_served(shipped_server: str, sentences: list[str]) -> None:
    async with AsyncClient(shipped_server) as client:
        results = await asyncio.gather(*(client.translate([text], model=MODELS[0]) for text in sentences[:150]))
    assert all(result[0].text for result in results)


def test_models_are_listed_and_described_with_their_certificate(shipped_server: str) -> None:
    with Client(shipped_server) as client:
        models = client.list_models()
        described = client.get_model("en-de-general")
    assert {model.name: model.family for model in models if model.name in MODELS} == {
        "en-de-general": "recurrent",
        "en-de-transformer": "transformer",
    }
    assert (described.source_language, described.target_language, described.precision) == ("en", "de", "int8")
    assert described.execution_provider == "CPUExecutionProvider"
    assert json.loads(described.certificate_json)["golden"]


def test_health_is_told_for_the_server_and_for_each_model(shipped_server: str) -> None:
    with grpc.insecure_channel(shipped_server) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "stepstream.v1.TranslationService", *MODELS):
            response = stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert response.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as raised:
            stub.Check(health_pb2.HealthCheckRequest(service="no-such-model"))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined]
