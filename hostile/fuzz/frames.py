"""HTTP/2 connections that are damaged: frames and bytes of real requests, mutated; and the statuses that come back."""

from __future__ import annotations

import asyncio
import random
from urllib.parse import unquote

import h2.config
import h2.connection
import hpack
import hyperframe.exceptions
import hyperframe.frame

from hostile.messages import mutate
from hostile.methods import METHODS

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
QUIET_S = 0.1
"""Seconds without a byte after which a connection is taken to be answered."""
CONNECT_TIMEOUT_S = 30.0
Answer = tuple[int, str]
"""A gRPC status and its message."""
_HEADER = 9
"""Bytes before a frame's payload (RFC 9113, section 4.1)."""


def conversation(order: random.Random) -> bytes:
    """All that a client sends of one connection: up to three requests, with damage to frames or bytes."""
    sent = _requests(order)
    frames = _split(sent.removeprefix(PREFACE))
    for _ in range(order.randint(0, 2)):
        _damage(frames, order)
    data = PREFACE + b"".join(frames)
    return mutate(data, order) if order.random() < 0.3 else data


async def answers(host: str, port: int, data: bytes) -> list[Answer]:
    """What the server says to a conversation; raises OSError where it does not accept a connection."""
    reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), CONNECT_TIMEOUT_S)
    received = bytearray()
    try:
        writer.write(data)
        while chunk := await asyncio.wait_for(reader.read(65536), QUIET_S):
            received += chunk
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.transport.abort()
    return _read(bytes(received))


def _requests(order: random.Random) -> bytes:
    connection = h2.connection.H2Connection(h2.config.H2Configuration(validate_outbound_headers=False))
    connection.initiate_connection()
    for number in range(order.randint(1, 3)):
        stream, method = 2 * number + 1, order.choice(METHODS)
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", method.path if order.random() < 0.9 else order.choice(("/", "/t/../../etc", method.path + "x"))),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("grpc-timeout", order.choice(("10S", "10S", "1m", "0n", "99999999H", "-1S", "x"))),
        ]
        connection.send_headers(stream, headers)
        for request in method.requests(order):
            compressed = b"\x00" if order.random() < 0.9 else b"\x01"
            connection.send_data(stream, (compressed + len(request).to_bytes(4, "big") + request)[:16000])
        connection.end_stream(stream)
    return connection.data_to_send()


def _split(data: bytes) -> list[bytes]:
    frames = []
    while data:
        length = _HEADER + int.from_bytes(data[:3], "big")
        frames.append(data[:length])
        data = data[length:]
    return frames


def _damage(frames: list[bytes], order: random.Random) -> None:
    place = order.randrange(len(frames))
    match order.randrange(6):
        case 0:
            frames[place] = mutate(frames[place], order)
        case 1:
            frames[place] = frames[place][:_HEADER] + mutate(frames[place][_HEADER:], order)
        case 2:
            frames.insert(place, frames[order.randrange(len(frames))])
        case 3 if len(frames) > 1:
            del frames[place]
        case 4:
            payload = order.randbytes(order.randint(0, 16))
            header = len(payload).to_bytes(3, "big") + order.randbytes(2) + order.randrange(8).to_bytes(4, "big")
            frames.insert(place, header + payload)
        case _:
            order.shuffle(frames)


def _read(data: bytes) -> list[Answer]:
    """The statuses in what a server sent, as far as it can be read."""
    decoder, found = hpack.Decoder(), []
    while len(data) >= _HEADER:
        try:
            frame, length = hyperframe.frame.Frame.parse_frame_header(memoryview(data[:_HEADER]))
            frame.parse_body(memoryview(data[_HEADER : _HEADER + length]))
        except hyperframe.exceptions.HyperframeError:
            break
        data = data[_HEADER + length :]
        if isinstance(frame, hyperframe.frame.HeadersFrame):
            try:
                headers = {_text(name): _text(value) for name, value in decoder.decode(frame.data)}
            except hpack.HPACKError:  # damaged settings may have asked for another table than ours
                break
            if "grpc-status" in headers:
                found.append((int(headers["grpc-status"]), unquote(headers.get("grpc-message", ""))))
    return found


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
