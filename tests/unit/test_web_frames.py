from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.client.web.frames import FrameError, message_frame, message_of, timeout_s, trailer_frame


@given(st.binary(max_size=300))
def test_a_message_comes_out_of_its_frame_as_it_went_in(message: bytes) -> None:
    assert message_of(message_frame(message)) == message


@given(st.binary(max_size=40))
def test_a_body_that_is_not_one_whole_message_is_refused(body: bytes) -> None:
    try:
        message = message_of(body)
    except FrameError:
        return
    assert message_frame(message) == body


@pytest.mark.parametrize(
    "body", [b"", b"\0\0\0\0", b"\1\0\0\0\0", b"\x80\0\0\0\0", b"\0\0\0\0\2x", message_frame(b"x") * 2]
)
def test_cut_compressed_and_doubled_messages_are_refused(body: bytes) -> None:
    with pytest.raises(FrameError):
        message_of(body)


@given(st.text())
def test_trailers_carry_any_text_as_printable_ascii(details: str) -> None:
    details = details.encode("utf-8", "replace").decode()
    frame = trailer_frame(8, details, [("grpc-retry-pushback-ms", "250")])
    assert frame[0] == 0x80
    assert int.from_bytes(frame[1:5], "big") == len(frame) - 5
    lines = frame[5:].decode("ascii").split("\r\n")
    assert lines[0] == "grpc-status: 8"
    assert unquote(lines[1].removeprefix("grpc-message: ")) == details
    assert lines[2:] == ["grpc-retry-pushback-ms: 250", ""]


def test_a_timeout_is_read_in_each_unit() -> None:
    assert timeout_s("") is None
    assert [timeout_s(text) for text in ("2H", "3M", "4S", "500m")] == [7200.0, 180.0, 4.0, 0.5]
    assert timeout_s("7u") == pytest.approx(7e-6)
    assert timeout_s("8n") == pytest.approx(8e-9)


@pytest.mark.parametrize("text", ["1", "S", "1s", "-1S", "123456789S", "1 S", "٣S"])
def test_what_is_no_timeout_is_refused(text: str) -> None:
    with pytest.raises(FrameError):
        timeout_s(text)
