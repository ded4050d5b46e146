"""The frames of gRPC-Web: five bytes, a flag and a length, before each message; trailers come as a last frame.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from urllib.parse import quote

HEADER = struct.Struct(">BI")
MESSAGE, TRAILERS = 0x00, 0x80
SAID_AS_IT_IS = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
UNIT_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


class FrameError(ValueError):
    """What was sent is no single message of gRPC-Web."""


def message_of(body: bytes) -> bytes:
    """The one message of a request's body. Raises FrameError."""
    if len(body) < HEADER.size:
        raise FrameError("a message begins with five bytes")
    flag, length = HEADER.unpack_from(body)
    if flag != MESSAGE:
        raise FrameError("a message is sent as it is, not compressed")
    if length != len(body) - HEADER.size:
        raise FrameError("the body is not one whole message")
    return body[HEADER.size :]


def message_frame(message: bytes) -> bytes:
    """One message of an answer."""
    return HEADER.pack(MESSAGE, len(message)) + message


def trailer_frame(status: int, details: str, metadata: Iterable[tuple[str, str]]) -> bytes:
    """How the call ended; details may hold any text, metadata printable ASCII."""
    pairs = [("grpc-status", str(status)), ("grpc-message", quote(details, safe=SAID_AS_IT_IS)), *metadata]
    text = "".join(f"{name}: {value}\r\n" for name, value in pairs).encode("ascii")
    return HEADER.pack(TRAILERS, len(text)) + text


def timeout_s(header: str) -> float | None:
    """The seconds that grpc-timeout gives a call; None where it is empty. Raises FrameError."""
    if not header:
        return None
    if (match := re.fullmatch(r"(\d{1,8})([HMSmun])", header, re.ASCII)) is None:
        raise FrameError("grpc-timeout is no time")
    return int(match[1]) * UNIT_S[match[2]]
