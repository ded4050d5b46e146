"""Bytes that are no message, and fields that no server knows."""

from __future__ import annotations

import time

import grpc
import pytest

from service.errors import InvalidRequestError
from service.parsing import parse
from service.pb import translation_pb2 as pb
from tests.faults.security.answers import MODEL, REQUESTS, SENTENCE, ask
from tests.faults.security.servers import Started

NOT_UTF8 = pb.GetModelRequest(model="xyz").SerializeToString().replace(b"xyz", b"x\xff\xfe")
WITH_A_MODEL = ("Translate", "StreamTranslate", "Score", "GetModel")


def framed(field: int, inner: bytes) -> bytes:
    """A message's bytes as a field of another message."""
    return bytes([field << 3 | 2, len(inner)]) + inner


@pytest.mark.fault(1)
@pytest.mark.parametrize("method", WITH_A_MODEL)
def test_a_text_that_is_not_utf8_is_invalid(channel: grpc.Channel, method: str) -> None:
    """INVALID_ARGUMENT, and the server serves on."""
    assert ask(channel, method, NOT_UTF8).name == "INVALID_ARGUMENT"
    assert ask(channel, method).name == "OK"


@pytest.mark.fault(1)
def test_a_text_that_is_not_utf8_in_the_middle_of_an_interactive_translation_is_invalid(channel: grpc.Channel) -> None:
    """The stream gets INVALID_ARGUMENT, by the first message or by a later one."""
    edit = framed(2, framed(1, b"\xff"))
    assert ask(channel, "TranslateInteractive", framed(1, NOT_UTF8)).name == "INVALID_ARGUMENT"
    assert ask(channel, "TranslateInteractive", REQUESTS["TranslateInteractive"], edit).name == "INVALID_ARGUMENT"


@pytest.mark.fault(2)
@pytest.mark.parametrize("garbage", [b"\xff" * 40, b"\x0a\x7fshort", b"\x0b", bytes(range(256))])
@pytest.mark.parametrize("method", REQUESTS)
def test_bytes_that_are_no_message_are_invalid(channel: grpc.Channel, method: str, garbage: bytes) -> None:
    """INVALID_ARGUMENT with the same words whatever the bytes are."""
    answer = ask(channel, method, garbage)
    assert (answer.name, answer.details) == (
        "INVALID_ARGUMENT",
        "the bytes are no message of this method, or a text in it is not UTF-8",
    )


@pytest.mark.fault(1, 2)
@pytest.mark.parametrize("method", ["Check", "Watch", "List"])
def test_bytes_that_are_no_message_of_health_are_invalid(channel: grpc.Channel, server: Started, method: str) -> None:
    """INVALID_ARGUMENT, without a word of the inside, to whoever may ask nothing else; and no error in the log."""
    for garbage in (b"\xff" * 4, b"\x0a\x02\xff\xff"):
        with pytest.raises(grpc.RpcError) as raised:
            next(channel.unary_stream(f"/grpc.health.v1.Health/{method}")(garbage, timeout=30))
        if method == "List" and raised.value.code() is grpc.StatusCode.UNIMPLEMENTED:
            continue
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "class" not in raised.value.details()
    assert [record for record in server.records() if record["level"] == "error"] == []


@pytest.mark.fault(18)
def test_a_method_of_health_that_nobody_serves_is_unimplemented(channel: grpc.Channel) -> None:
    """UNIMPLEMENTED, without a word of the inside."""
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/grpc.health.v1.Health/List")(b"", timeout=30)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "class" not in raised.value.details()


@pytest.mark.fault(2)
@pytest.mark.parametrize("method", ["Translate", "StreamTranslate", "Score", "GetModel", "TranslateInteractive"])
def test_a_message_that_is_cut_off_anywhere_is_invalid_or_another_message(channel: grpc.Channel, method: str) -> None:
    """INVALID_ARGUMENT, or what the shorter message asks for; never UNKNOWN."""
    whole = REQUESTS[method].SerializeToString()
    names = {ask(channel, method, whole[:length]).name for length in range(len(whole))}
    assert "INVALID_ARGUMENT" in names
    assert names <= {"INVALID_ARGUMENT", "OK", "NOT_FOUND"}


@pytest.mark.fault(2)
def test_garbage_in_the_middle_of_an_interactive_translation_is_invalid(channel: grpc.Channel) -> None:
    """The stream gets INVALID_ARGUMENT."""
    answer = ask(channel, "TranslateInteractive", REQUESTS["TranslateInteractive"], b"\xff\xff")
    assert answer.name == "INVALID_ARGUMENT"


@pytest.mark.fault(2)
def test_an_interactive_translation_without_any_message_is_invalid(channel: grpc.Channel) -> None:
    """A client that closes its half at once gets INVALID_ARGUMENT."""
    call = channel.stream_stream("/stepstream.v1.TranslationService/TranslateInteractive")(iter(()), timeout=60)
    with pytest.raises(grpc.RpcError) as raised:
        list(call)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]


@pytest.mark.fault(3)
@pytest.mark.parametrize("method", ["Translate", "StreamTranslate", "Score", "GetModel", "ListModels"])
def test_fields_that_the_server_does_not_know_are_passed_over(channel: grpc.Channel, method: str) -> None:
    """OK, as without them."""
    unknown = b"\xa2\x06\x05hello" + b"\xa8\x06\x07"
    assert ask(channel, method, REQUESTS[method].SerializeToString() + unknown).name == "OK"


@pytest.mark.fault(3)
def test_unknown_fields_are_counted_also_deep_in_a_message(server: Started, channel: grpc.Channel) -> None:
    """The metric of the method rises by as many as there are."""
    options = pb.DecodingOptions(max_length=3).SerializeToString() + b"\xa8\x06\x07\xb0\x06\x07"
    message = pb.StreamTranslateRequest(model=MODEL, text=SENTENCE).SerializeToString() + framed(4, options)
    before = server.metric("stepstream_unknown_fields_total", method="StreamTranslate")
    assert ask(channel, "StreamTranslate", message + b"\xa8\x06\x01").name == "OK"
    end = time.monotonic() + 60
    while server.metric("stepstream_unknown_fields_total", method="StreamTranslate") < before + 3:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert server.metric("stepstream_unknown_fields_total", method="StreamTranslate") == before + 3


@pytest.mark.fault(10)
@pytest.mark.parametrize("number", [7, -1, 2**31 - 1])
def test_a_number_of_an_enumeration_that_names_nothing_is_invalid(number: int) -> None:
    """INVALID_ARGUMENT that names the field, wherever in a message it is; unset is what the protocol says of it."""
    with pytest.raises(InvalidRequestError, match=f"finish_reason is {number}, which names nothing"):
        parse(pb.TranslateResponse.FromString, with_reason(number).SerializeToString())
    for known in (0, pb.FINISH_REASON_MAX_LENGTH):
        assert parse(pb.TranslateResponse.FromString, with_reason(known).SerializeToString()).num_unknown_fields == 0


def with_reason(number: int) -> pb.TranslateResponse:
    """No request has an enumeration yet; a response that is parsed as one stands for it."""
    return pb.TranslateResponse(translations=[pb.Translation(finish_reason=number)])  # type: ignore[arg-type]
