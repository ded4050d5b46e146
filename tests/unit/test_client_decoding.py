"""What the clients give of a search: hypotheses, terms, candidates, tentative text, scores."""

import pytest

from service.client.client import AsyncClient, Client
from service.client.options import DecodingOptions
from service.client.types import (
    Candidate,
    Completion,
    FinishReason,
    Hypothesis,
    ScoredTarget,
    ScoredToken,
    StepEvent,
    TentativeEvent,
    TermMatch,
)
from service.pb import translation_pb2 as pb


@pytest.fixture
def client(fake_service):
    with Client(fake_service.address) as client:
        yield client


def test_every_hypothesis_is_given_best_first_with_the_places_of_its_terms(client):
    options = DecodingOptions(beam_size=2, num_hypotheses=2, terms=(("a", "b"), ("missing",)), untranslated=("c",))
    (translation,) = client.translate(["two words"], model="shout", options=options)
    *_, completion = client.stream("two words", model="shout", options=options)
    terms = (TermMatch(0, "a", 1, 2, 0, 1), TermMatch(2, "c", 3, 4, 2, 3))
    expected = (
        Hypothesis("TWO WORDS", FinishReason.END_OF_SENTENCE, -0.5, -0.25, 3, terms),
        Hypothesis("TWO WORDS!", FinishReason.END_OF_SENTENCE, -1.5, -1.25, 4, terms),
    )
    assert translation.hypotheses == completion.hypotheses == expected
    assert translation.text == completion.text == expected[0].text


def test_a_step_has_the_candidates_that_were_asked_for(client):
    first, second, _ = client.stream("one", model="shout", options=DecodingOptions(num_candidates=2))
    assert first.candidates == (Candidate(10, "▁ONE", -0.25), Candidate(11, "▁ONE?", -1.25))
    assert second.candidates == (Candidate(11, "</s>", -0.25), Candidate(12, "</s>?", -1.25))
    first, *_ = client.stream("one", model="shout")
    assert first.candidates == ()


def test_a_beam_search_streams_what_is_settled_and_what_is_tentative_in_the_order_of_the_messages(client):
    events = list(client.stream("a b", model="shout", options=DecodingOptions(beam_size=2)))
    assert [type(event) for event in events] == [
        TentativeEvent,
        *[StepEvent, TentativeEvent] * 3,
        Completion,
    ]
    assert [event.text for event in events if isinstance(event, TentativeEvent)] == ["A", "", "", ""]
    assert "".join(event.text_delta for event in events if isinstance(event, StepEvent)) == "A B"


def test_a_message_with_neither_step_nor_completion_is_a_tentative_event_alone(client, fake_service):
    fake_service.streams["a"] = [
        pb.StreamTranslateResponse(tentative=pb.Tentative(num_kept=0, pieces=["▁x", "▁y"], text="x y")),
        pb.StreamTranslateResponse(tentative=pb.Tentative(num_kept=1, pieces=["▁z"], text="x z")),
        pb.StreamTranslateResponse(completion=pb.Completion(text="x z")),
    ]
    *events, _ = client.stream("a", model="shout")
    assert events == [TentativeEvent("x y", ("▁x", "▁y"), 0), TentativeEvent("x z", ("▁z",), 1)]


def test_a_given_translation_is_scored_token_by_token_in_the_order_of_the_pairs(client, fake_service):
    scores = client.score([("one", "eins"), ("two", "")], model="shout", version=3, timeout_s=4.0)
    assert scores == [
        ScoredTarget((ScoredToken(10, "▁eins", -0.25), ScoredToken(11, "</s>", -0.5)), -0.75, 3),
        ScoredTarget((ScoredToken(10, "</s>", -0.25),), -0.25, 3),
    ]
    (request,) = fake_service.requests
    assert (request.model, request.version) == ("shout", 3)
    assert [(pair.source, pair.target) for pair in request.pairs] == [("one", "eins"), ("two", "")]
    assert fake_service.deadlines_s == [pytest.approx(4.0, abs=1.0)]


async def test_both_clients_give_the_same_search(client, fake_service):
    options = DecodingOptions(beam_size=2, num_hypotheses=3, num_candidates=2, terms=(("a",),))
    async with AsyncClient(fake_service.address) as other:
        stream = [event async for event in other.stream("two words", model="shout", options=options)]
        assert stream == list(client.stream("two words", model="shout", options=options))
        translations = await other.translate(["a", "b"], model="shout", options=options)
        assert translations == client.translate(["a", "b"], model="shout", options=options)
