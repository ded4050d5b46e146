"""An HTTP/2 client that does as it is told: it speaks gRPC well or badly, and reads only when asked.

Built on `h2` for what a well-behaved client does, and on `hyperframe` for frames that no such client sends.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hyperframe.frame import Frame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SERVICE = "/stepstream.v1.TranslationService"
CONNECT_S = 10.0
FRAME_HEADER_BYTES = 9
READ_BYTES = 2**16

Headers = Sequence[tuple[str, str]]


def grpc_message(content: bytes, *, compressed: bool = False) -> bytes:
    """A message with gRPC's prefix: one byte that says whether it is compressed, four for its length."""
    return struct.pack(">BI", compressed, len(content)) + content


class Connection:
    """One connection to HOST:PORT. `events` holds all that was read, in order."""

    def __init__(self, address: str, *, window: int | None = None, acknowledge: bool = True) -> None:
        """window: bytes that the server may send on each stream before it is told of more; None for HTTP/2's 65,535.
        acknowledge: whether the server's settings are waited for, and in force for what follows."""
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=CONNECT_S)
        self.h2 = H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding="utf-8",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,
            )
        )
        if window is not None:
            self.h2.local_settings[SettingCodes.INITIAL_WINDOW_SIZE] = window
            self.h2.local_settings.acknowledge()
        self.h2.initiate_connection()
        self.events: list[Event] = []
        self.is_closed = False
        self._unread = b""
        """Whether the server has closed it, as far as was read."""
        self._window = window
        self.flush()
        if acknowledge:
            self.read_until(RemoteSettingsChanged)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Without a word to the server."""
        self.socket.close()

    def call(self, method: str, message: bytes | None = None, headers: Headers = (), *, path: str = "") -> int:
        """Send a request's headers, and its one message if there is one; the number of its stream."""
        stream_id = self.h2.get_next_available_stream_id()
        pseudo = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path or f"{SERVICE}/{method}"),
            (":authority", "localhost"),
        ]
        self.h2.send_headers(
            stream_id, [*pseudo, ("content-type", "application/grpc"), ("te", "trailers"), *headers], end_stream=False
        )
        if message is not None:
            self.h2.send_data(stream_id, grpc_message(message), end_stream=True)
        self.flush()
        return stream_id

    def reset(self, stream_id: int) -> None:
        self.h2.reset_stream(stream_id)
        self.flush()

    def flush(self) -> None:
        """Send what `h2` has to say; raises OSError where the server has closed the connection."""
        self.send(self.h2.data_to_send())

    def send(self, content: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(content)

    def send_frame(self, frame: Frame) -> None:
        """Send a frame that `h2` knows nothing of."""
        self.send(frame.serialize())

    def read(self, timeout_s: float = 0.0) -> list[Event]:
        """What has come, once anything has, or nothing when the time is up. Acknowledges what HTTP/2 asks for, but
        opens no window."""
        self.socket.settimeout(timeout_s)
        try:
            content = self.socket.recv(READ_BYTES)
        except (TimeoutError, BlockingIOError):
            return []
        except OSError:
            content = b""
        finally:
            self.socket.settimeout(CONNECT_S)
        if not content:
            self.is_closed = True
            return []
        self._unread += content
        events: list[Event] = []
        while (frame := self._next_frame()) is not None:
            try:
                made = self.h2.receive_data(frame)
            except ProtocolError:
                if self.farewell is None:
                    raise
                break  # `h2` takes nothing any more once the server has said goodbye
            self.events.extend(made)
            events += made
        with contextlib.suppress(OSError):
            self.flush()
        return events

    def _next_frame(self) -> bytes | None:
        """One frame: `h2` would lose the events of those before one that it does not take."""
        size = FRAME_HEADER_BYTES + int.from_bytes(self._unread[:3], "big")
        if len(self._unread) < max(size, FRAME_HEADER_BYTES):
            return None
        frame, self._unread = self._unread[:size], self._unread[size:]
        return frame

    def read_until(self, *wanted: type[Event], timeout_s: float = 30.0, stream_id: int | None = None) -> Event | None:
        """The first event of these kinds, of one stream if it is named; None where the connection or the time ends
        before it comes."""
        deadline = time.monotonic() + timeout_s
        for event in self._as_they_come(deadline):
            if isinstance(event, wanted) and stream_id in (None, getattr(event, "stream_id", None)):
                return event
        return None

    def _as_they_come(self, deadline: float) -> Iterator[Event]:
        yield from list(self.events)
        while not self.is_closed and (left := deadline - time.monotonic()) > 0:
            yield from self.read(left)

    def status(self, stream_id: int, *, timeout_s: float = 30.0) -> str | None:
        """The gRPC status that a stream ended with, "RST" where it was reset; None where it has not."""
        deadline = time.monotonic() + timeout_s
        for event in self._as_they_come(deadline):
            if getattr(event, "stream_id", None) != stream_id:
                continue
            if isinstance(event, StreamReset):
                return "RST"
            if isinstance(event, (ResponseReceived, TrailersReceived)):
                headers = {_text(name): _text(value) for name, value in event.headers or ()}
                if (status := headers.get("grpc-status")) is not None:
                    return status
            if isinstance(event, DataReceived) and self._window is None:
                self.h2.acknowledge_received_data(event.flow_controlled_length or 0, stream_id)
                with contextlib.suppress(OSError):
                    self.flush()
        return None

    @property
    def farewell(self) -> ConnectionTerminated | None:
        """The server's GOAWAY, as far as was read."""
        return next((event for event in self.events if isinstance(event, ConnectionTerminated)), None)

    def drain(self, timeout_s: float = 0.2) -> None:
        """Read until nothing comes for so long."""
        while self.read(timeout_s):
            pass


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
