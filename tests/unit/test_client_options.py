"""The options of a search on their way to the server."""

from dataclasses import fields, replace

import pytest

from service.client.client import Client
from service.client.errors import InvalidRequestError
from service.client.options import GREEDY, DecodingOptions, Priority, Sampling, options_message
from service.client.requests import score_request
from service.pb import translation_pb2 as pb

EVERY_OPTION = DecodingOptions(
    max_length=1,
    seed=2,
    beam_size=3,
    num_hypotheses=4,
    length_penalty=0.5,
    coverage_penalty=0.25,
    patience=1.5,
    min_length=5,
    repetition_penalty=1.25,
    no_repeat_ngram_size=6,
    suppress_tokens=("▁a", "b"),
    disable_unknown=True,
    sampling=Sampling(temperature=0.75, top_k=7, top_p=0.5, min_p=0.125),
    target_prefix="c d",
    target_prefix_ids=(8, 9),
    return_alternatives=True,
    min_alternative_expansion_prob=0.0625,
    num_candidates=10,
    terms=(("e", "f g"), ("h",)),
    untranslated=("i", "j"),
    ignore_end_of_sequence=True,
    source_language="k",
    target_language="l",
)
AS_A_MESSAGE = pb.DecodingOptions(
    max_length=1,
    seed=2,
    beam_size=3,
    num_hypotheses=4,
    length_penalty=0.5,
    coverage_penalty=0.25,
    patience=1.5,
    min_length=5,
    repetition_penalty=1.25,
    no_repeat_ngram_size=6,
    suppress_tokens=["▁a", "b"],
    disable_unknown=True,
    sampling=pb.Sampling(temperature=0.75, top_k=7, top_p=0.5, min_p=0.125),
    target_prefix="c d",
    target_prefix_ids=[8, 9],
    return_alternatives=True,
    min_alternative_expansion_prob=0.0625,
    num_candidates=10,
    terms=[pb.Term(phrases=["e", "f g"]), pb.Term(phrases=["h"])],
    untranslated=["i", "j"],
    ignore_end_of_sequence=True,
    source_language="k",
    target_language="l",
)


@pytest.mark.parametrize(("kind", "message"), [(DecodingOptions, pb.DecodingOptions), (Sampling, pb.Sampling)])
def test_there_is_an_option_for_each_field_of_the_message_and_of_its_name(kind, message):
    names = [field.name for field in fields(kind) if field.name != "priority"]
    assert names == [field.name for field in message.DESCRIPTOR.fields]


@pytest.mark.parametrize(
    ("priority", "sent"),
    [
        (Priority.LOW, pb.PRIORITY_LOW),
        (Priority.NORMAL, pb.PRIORITY_UNSPECIFIED),
        (Priority.HIGH, pb.PRIORITY_HIGH),
    ],
)
def test_a_priority_is_sent_with_the_request_and_not_with_its_search(fake_service, priority, sent):
    options = DecodingOptions(priority=priority)
    with Client(fake_service.address) as client:
        client.translate(["a"], model="shout", options=options)
        list(client.stream("a", model="shout", options=options))
    assert [request.priority for request in fake_service.requests] == [sent] * 2
    assert [request.options for request in fake_service.requests] == [pb.DecodingOptions()] * 2
    assert score_request([("a", "b")], model="shout", version=0, priority=priority).priority == sent


def test_every_option_reaches_the_server_by_every_call(fake_service):
    assert len(AS_A_MESSAGE.ListFields()) == len(pb.DecodingOptions.DESCRIPTOR.fields)
    with Client(fake_service.address) as client:
        client.translate(["a"], model="shout", options=EVERY_OPTION)
        list(client.stream("a", model="shout", options=EVERY_OPTION))
    assert [request.options for request in fake_service.requests] == [AS_A_MESSAGE] * 2


def test_nothing_is_sent_of_what_is_the_default():
    assert options_message(GREEDY) == pb.DecodingOptions()


@pytest.mark.parametrize(("name", "value"), [("seed", 0), ("length_penalty", 0.0), ("patience", 2.0)])
def test_an_option_with_a_default_of_its_own_can_be_set_to_any_other_value(name, value):
    message = options_message(replace(GREEDY, **{name: value}))
    assert message.HasField(name)
    assert getattr(message, name) == value
    assert len(message.ListFields()) == 1


def test_sampling_is_asked_for_even_where_all_of_it_is_the_default():
    message = options_message(DecodingOptions(sampling=Sampling()))
    assert message.HasField("sampling")
    assert message.sampling == pb.Sampling()


def test_the_defaults_are_those_that_the_proto_file_gives():
    assert (GREEDY.length_penalty, GREEDY.patience, GREEDY.repetition_penalty) == (None, 1.0, 1.0)
    assert (Sampling().temperature, Sampling().top_p) == (1.0, 1.0)


@pytest.mark.parametrize(
    "options",
    [
        DecodingOptions(terms="dog"),
        DecodingOptions(terms=("dog",)),
        DecodingOptions(untranslated="dog"),
        DecodingOptions(suppress_tokens="dog"),
    ],
)
def test_a_text_in_place_of_a_tuple_of_texts_is_refused_and_not_read_as_its_characters(options):
    with pytest.raises(InvalidRequestError, match="'dog'"):
        options_message(options)
