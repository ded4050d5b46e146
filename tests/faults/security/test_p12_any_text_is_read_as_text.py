"""Texts of any characters: read in time, without holding up others, and never as control tokens."""

from __future__ import annotations

import re
import threading
import time
from typing import Any

import grpc
import pytest

from service.model.placeholders import PLACEHOLDER
from service.model.text import Source, Texts
from service.pb import translation_pb2 as pb
from service.translator import SHORT_TEXT
from tests.faults.security.answers import MODEL, SENTENCE, SERVICE, Answer, ask


def stream(channel: grpc.Channel, text: str = SENTENCE, *, model: str = MODEL, **options: Any) -> Answer:
    request = pb.StreamTranslateRequest(model=model, text=text, options=pb.DecodingOptions(**options))
    return ask(channel, "StreamTranslate", request)


STRESS = {
    "plain": "The man walks a dog. ",
    "combining marks": "e\u0301\u0302\u0303",
    "lone combining marks": "\u0301",
    "right to left override": "\u202eabc\u202d",
    "emoji chains": "👨\u200d👩\u200d👧\u200d👦",
    "a character that becomes eighteen": "\ufdfa",
    "unassigned": "\U000e0fff",
    "no space": "abcdefgh",
    "one letter": "a",
    "unknown letters": "漢",
    "nul": "\0",
    "placeholders that never end": "%1$" + "0" * 8_000,
    "open placeholders": "%(a",
    "open braces": "{a" * 7,
    "dollars": "$(",
}


@pytest.mark.fault(13)
@pytest.mark.parametrize("stress", STRESS)
def test_any_text_is_translated_or_refused(channel: grpc.Channel, stress: str) -> None:
    """OK or INVALID_ARGUMENT, from short to as long as a text may be."""
    for size in (64, 1_000, 32_000):
        text = (STRESS[stress] * size)[: size // len(STRESS[stress][0].encode())]
        for model in (MODEL, "en-ko-transformer"):
            answer = stream(channel, text, model=model, max_length=4)
            assert answer.name in ("OK", "INVALID_ARGUMENT"), answer


@pytest.mark.fault(13)
def test_the_limit_of_bytes_holds_after_normalization_too(channel: grpc.Channel) -> None:
    """A text of 12 KiB that normalization makes eleven times as long gets INVALID_ARGUMENT, with the limit."""
    answer = stream(channel, "\ufdfa" * 4_000)
    assert answer.name == "INVALID_ARGUMENT"
    assert re.fullmatch(r"the text has 13\d{4} bytes once it is normalized; at most 32768 .*", answer.details), answer


@pytest.mark.fault(13)
@pytest.mark.parametrize("stress", STRESS)
def test_reading_takes_a_time_that_the_length_bounds(texts: Texts, masked_texts: Texts, stress: str) -> None:
    """At most 5 ms for each KiB, in the best of five tries."""
    text = (STRESS[stress] * 32_000)[: 16_384 // len(STRESS[stress][0].encode())]
    for vocabulary in (texts, masked_texts):
        best = min(_read_s(vocabulary, text) for _ in range(5))
        assert best <= 0.005 * len(text.encode()) / 1024


def _read_s(texts: Texts, text: str) -> float:
    begun = time.perf_counter()
    texts.normalized_bytes(text)
    try:
        texts.read(text)
    except ValueError:
        PLACEHOLDER.findall(text)
    return time.perf_counter() - begun


@pytest.mark.fault(14)
@pytest.mark.parametrize("name", ["<s>", "</s>", "<pad>", "<unk>", "a</s>b"])
def test_the_names_of_special_tokens_are_text(channel: grpc.Channel, texts: Texts, name: str) -> None:
    """They are translated as any text, and no control token comes of them: not in a source, a prefix or a term."""
    source = texts.read(f"{name} dogs {name}")
    assert [token_id for token_id in source.ids if texts.is_control(token_id)] == [3]
    assert source.ids[-1] == 3
    assert not any(texts.is_control(token_id) for token_id in texts.read_target(name, source))
    assert stream(channel, f"{name} dogs {name}").name == "OK"
    assert stream(channel, target_prefix=name).name == "OK"
    assert stream(channel, terms=[pb.Term(phrases=[name])], beam_size=2).name == "OK"


@pytest.mark.fault(14)
@pytest.mark.parametrize("piece", ["<s>", "</s>", "<pad>", "<unk>", "no such piece"])
def test_special_tokens_cannot_be_suppressed(channel: grpc.Channel, piece: str) -> None:
    """INVALID_ARGUMENT: what is suppressed is pieces of text."""
    assert stream(channel, suppress_tokens=[piece]).name == "INVALID_ARGUMENT"


@pytest.mark.fault(14, 45)
@pytest.mark.parametrize("token_id", [-1, -(2**31), 0, 2, 3, 6_000, 2**31 - 1])
def test_a_prefix_has_no_control_token_and_none_outside_of_the_vocabulary(channel: grpc.Channel, token_id: int) -> None:
    """INVALID_ARGUMENT that names the id."""
    answer = stream(channel, target_prefix_ids=[100, token_id])
    assert answer.name == "INVALID_ARGUMENT"
    assert answer.details == f"target_prefix_ids has {token_id}, which no target can begin with"


@pytest.mark.fault(14)
@pytest.mark.parametrize("text", ["\uff05\uff11 files", "%① files", "a %① b \uff05\uff11 c"])
def test_no_text_becomes_a_mask_by_its_normalization(channel: grpc.Channel, masked_texts: Texts, text: str) -> None:
    """Full-width and circled digits are text: no mask comes of them that stands for nothing."""
    source = masked_texts.read(text)
    assert not {4, 5} & set(source.ids)
    assert not {4, 5} & set(masked_texts.read_target(text, source))
    assert not {4, 5} & set(masked_texts.read_target("%1", source))
    assert stream(channel, text, model="en-ko-transformer").name == "OK"


@pytest.mark.fault(14)
def test_a_mask_that_stands_for_a_placeholder_stays_beside_one_that_does_not(masked_texts: Texts) -> None:
    """The placeholder keeps one mask, whatever else looks like it."""
    source = masked_texts.read("%s of \uff05\uff11 files")
    assert source.placeholders == ("%s",)
    assert source.ids.count(4) == 1


@pytest.mark.fault(13)
async def test_a_long_text_is_read_beside_the_event_loop(inside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long text is read on another thread than everybody's messages are sent on; a short one needs none."""
    real, threads = Texts.read, []

    def read(texts: Texts, text: str, source_language: str, target_language: str) -> Source:
        threads.append(threading.current_thread() is threading.main_thread())
        return real(texts, text, source_language, target_language)

    monkeypatch.setattr(Texts, "read", read)
    async with grpc.aio.insecure_channel(inside) as channel:
        for text in (SENTENCE, "a" + " " * SHORT_TEXT):
            request = pb.StreamTranslateRequest(model=MODEL, text=text).SerializeToString()
            call = channel.unary_stream(f"{SERVICE}StreamTranslate")(request, timeout=60)
            while await call.read() is not grpc.aio.EOF:
                pass
    assert threads == [True, False]
