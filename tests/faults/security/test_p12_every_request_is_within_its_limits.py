"""What a request may ask for: every number, every text and every list has a limit, and the answer names it."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from service.model.text import Texts
from service.pb import translation_pb2 as pb
from tests.faults.security.answers import MODEL, SENTENCE, Answer, ask
from tests.faults.security.servers import Started

NOTHING = ("", " ", "\t\n \u3000", "\ufeff", "\ufeff \u200b")
MIB = 2**20


def stream(channel: grpc.Channel, text: str = SENTENCE, *, model: str = MODEL, **options: Any) -> Answer:
    request = pb.StreamTranslateRequest(model=model, text=text, options=pb.DecodingOptions(**options))
    return ask(channel, "StreamTranslate", request)


def text_of(answer: Answer) -> str:
    text: str = answer.messages[-1].completion.text
    return text


@pytest.mark.fault(4)
@pytest.mark.parametrize("text", NOTHING)
def test_a_text_of_nothing_is_translated_to_nothing(channel: grpc.Channel, text: str) -> None:
    """OK with the empty text, from white space and from a byte order mark alike, as the protocol says."""
    streamed = stream(channel, text)
    assert (streamed.name, len(streamed.messages), text_of(streamed)) == ("OK", 1, "")
    unary = ask(channel, "Translate", pb.TranslateRequest(model=MODEL, texts=[text, SENTENCE]))
    assert [one.text == "" for one in unary.messages[0].translations] == [True, False]


@pytest.mark.fault(4)
@pytest.mark.parametrize("text", NOTHING)
def test_nothing_can_neither_be_scored_nor_edited(channel: grpc.Channel, text: str) -> None:
    """INVALID_ARGUMENT."""
    pairs = [pb.ScorePair(source=text, target="Ein Mann.")]
    assert ask(channel, "Score", pb.ScoreRequest(model=MODEL, pairs=pairs)).name == "INVALID_ARGUMENT"
    start = pb.TranslateInteractiveRequest(start=pb.StreamTranslateRequest(model=MODEL, text=text))
    assert ask(channel, "TranslateInteractive", start).name == "INVALID_ARGUMENT"


def requests_with(text: str) -> list[tuple[str, Any]]:
    streamed = pb.StreamTranslateRequest(model=MODEL, text=text)
    return [
        ("Translate", pb.TranslateRequest(model=MODEL, texts=[SENTENCE, text])),
        ("StreamTranslate", streamed),
        ("TranslateInteractive", pb.TranslateInteractiveRequest(start=streamed)),
        ("Score", pb.ScoreRequest(model=MODEL, pairs=[pb.ScorePair(source=text, target="Ja")])),
        ("Score", pb.ScoreRequest(model=MODEL, pairs=[pb.ScorePair(source=SENTENCE, target=text)])),
    ]


@pytest.mark.fault(5)
@pytest.mark.parametrize("text", ["a" * 32_769, "ü" * 16_385], ids=["ascii", "two bytes"])
def test_a_text_of_more_bytes_than_allowed_is_invalid(channel: grpc.Channel, text: str) -> None:
    """INVALID_ARGUMENT that names the limit in bytes of UTF-8."""
    for method, request in requests_with(text):
        answer = ask(channel, method, request)
        assert answer.name == "INVALID_ARGUMENT"
        assert "at most 32768" in answer.details


@pytest.mark.fault(6)
def test_a_message_of_10_megabytes_is_refused_unread(channel: grpc.Channel, server: Started) -> None:
    """RESOURCE_EXHAUSTED, a hundred times, and the server's memory stays where it was: in one of five rounds, since
    buffers of connections come and go, where what is kept of each message would show in every round."""
    text = "x" * 10_000_000

    def grown_by() -> int:
        before = server.resident_bytes()
        for _ in range(100):
            answer = stream(channel, text)
            assert answer.name == "RESOURCE_EXHAUSTED"
            assert "larger than max" in answer.details
        return server.resident_bytes() - before

    assert any(grown_by() <= MIB for _ in range(5))


@pytest.mark.fault(20)
def test_a_message_that_unpacks_to_50_megabytes_is_refused(channel: grpc.Channel, server: Started) -> None:
    """RESOURCE_EXHAUSTED, and the server's memory does not take up what was packed."""
    request = pb.StreamTranslateRequest(model=MODEL, text="a" * 50_000_000)

    def grown_by() -> int:
        before = server.resident_bytes()
        for _ in range(5):
            answer = ask(channel, "StreamTranslate", request, compression=grpc.Compression.Gzip)
            assert answer.name == "RESOURCE_EXHAUSTED"
        return server.resident_bytes() - before

    assert any(grown_by() <= 8 * MIB for _ in range(5))


@pytest.mark.fault(7)
def test_a_source_of_more_tokens_than_the_model_takes_is_invalid(channel: grpc.Channel, texts: Texts) -> None:
    """INVALID_ARGUMENT that names both numbers; the longest source is read to its last token."""
    answer = stream(channel, "a " * 256)
    assert answer.name == "INVALID_ARGUMENT"
    assert answer.details == "the text has 257 tokens; this model takes at most 256"
    longest = stream(channel, "a " * 255, max_length=2)
    assert longest.messages[-1].completion.num_source_tokens == 256 == len(texts.read("a " * 255).ids)


INFINITE, NAN = float("inf"), float("nan")
RANGES: dict[str, tuple[tuple[Any, ...], str]] = {
    "max_length": ((-1, 10_000, 2**31 - 1, -(2**31)), "from 1 to"),
    "beam_size": ((-1, 33, 2**31 - 1), "from 1 to 32"),
    "num_hypotheses": ((-1, 33, 2**31 - 1), "from 1 to 32"),
    "length_penalty": ((NAN, INFINITE, -INFINITE, -0.1, 11, 1e30), "from 0 to 10"),
    "coverage_penalty": ((NAN, INFINITE, -1), "from 0 to 10"),
    "patience": ((NAN, INFINITE, 0, -1, 5), "from 1 to 4"),
    "min_length": ((-1, 2**31 - 1), "from 0 to"),
    "repetition_penalty": ((NAN, INFINITE, 1e-45, 0.12, 0, -1, 11), "from 0.125 to 10"),
    "no_repeat_ngram_size": ((-1, 2**31 - 1), "from 0 to"),
    "min_alternative_expansion_prob": ((NAN, INFINITE, -0.1, 1.1), "from 0 to 1"),
    "num_candidates": ((-1, 33, 2**31 - 1), "from 0 to 32"),
}
SAMPLING_RANGES: dict[str, tuple[tuple[Any, ...], str]] = {
    "temperature": ((NAN, INFINITE, 0, -1, 101), "at most 100"),
    "top_k": ((-1, 6_001, 2**31 - 1), "from 0 to 6000"),
    "top_p": ((NAN, INFINITE, 0, -1, 1.1), "at most 1"),
    "min_p": ((NAN, INFINITE, -1, 1.1), "from 0 to 1"),
}


@pytest.mark.fault(8, 9)
@pytest.mark.parametrize(
    ("name", "value", "limit"), [(name, one, limit) for name, (values, limit) in RANGES.items() for one in values]
)
def test_a_number_out_of_its_range_is_invalid(channel: grpc.Channel, name: str, value: float, limit: str) -> None:
    """INVALID_ARGUMENT that names the field and its limits; NaN and infinities are in no range."""
    answer = stream(channel, **{name: value})
    assert answer.name == "INVALID_ARGUMENT"
    assert answer.details.startswith(name)
    assert limit in answer.details


@pytest.mark.fault(9)
@pytest.mark.parametrize(
    ("name", "value", "limit"),
    [(name, one, limit) for name, (values, limit) in SAMPLING_RANGES.items() for one in values],
)
def test_a_number_of_sampling_out_of_its_range_is_invalid(
    channel: grpc.Channel, name: str, value: float, limit: str
) -> None:
    """INVALID_ARGUMENT that names the field and its limits."""
    answer = stream(channel, sampling=pb.Sampling(**{name: value}))
    assert answer.name == "INVALID_ARGUMENT"
    assert answer.details.startswith(name)
    assert limit in answer.details


@pytest.mark.fault(8)
def test_a_list_or_the_texts_of_the_options_are_bounded(channel: grpc.Channel) -> None:
    """INVALID_ARGUMENT that names the list and its limit."""
    too_long: list[tuple[dict[str, Any], str, str]] = [
        ({"suppress_tokens": ["a"] * 1_025}, "suppress_tokens", "from 0 to 1024"),
        ({"target_prefix_ids": [5] * 4_097}, "target_prefix_ids", "from 0 to 4096"),
        ({"terms": [pb.Term(phrases=["a"] * 17)], "beam_size": 2}, "phrases", "from 0 to 16"),
        ({"terms": [pb.Term(phrases=["a"])] * 17, "beam_size": 2}, "there are 17 terms", "at most 16"),
        ({"untranslated": ["a"] * 17, "beam_size": 2}, "there are 17 terms", "at most 16"),
        ({"target_prefix": "a" * 8_193}, "options", "at most 8192"),
        ({"terms": [pb.Term(phrases=["a" * 5_000])], "untranslated": ["b" * 5_000]}, "options", "at most 8192"),
    ]
    for options, what, limit in too_long:
        answer = stream(channel, **options)
        assert (answer.name, answer.details.startswith(what)) == ("INVALID_ARGUMENT", True), answer
        assert limit in answer.details
    for texts in ([], ["a"] * 1_025):
        answer = ask(channel, "Translate", pb.TranslateRequest(model=MODEL, texts=texts))
        assert (answer.name, "from 1 to 1024" in answer.details) == ("INVALID_ARGUMENT", True)
    edit = pb.TranslateInteractiveRequest(edit=pb.Edit(target_prefix="a" * 8_193))
    start = pb.TranslateInteractiveRequest(start=pb.StreamTranslateRequest(model=MODEL, text=SENTENCE))
    assert "at most 8192" in ask(channel, "TranslateInteractive", start, edit).details


@pytest.mark.fault(15)
def test_a_target_that_does_not_end_stops_at_its_longest(channel: grpc.Channel) -> None:
    """OK, and the reason says that the length ended it."""
    answer = stream(channel, "a dog a dog a dog " * 20, max_length=40)
    assert answer.name == "OK"
    assert answer.messages[-1].completion.finish_reason == pb.FINISH_REASON_MAX_LENGTH
    assert answer.messages[-1].completion.num_target_tokens == 40
