"""What a fuzzer's input stands for: a byte that picks the method, then the messages, each after two bytes of length
where requests stream."""

from __future__ import annotations

import random
from pathlib import Path

from hostile.methods import METHODS, Method

LONGEST = 4096
"""Bytes of an input."""
_LENGTH = 2
"""Bytes of the length before a message."""


def split(data: bytes) -> tuple[Method, tuple[bytes, ...]]:
    """The method and the messages that an input, of at least a byte, stands for."""
    method, rest = METHODS[data[0] % len(METHODS)], data[1:]
    if not method.requests_stream:
        return method, (rest,)
    requests = []
    while len(rest) >= _LENGTH:
        length = int.from_bytes(rest[:_LENGTH], "big")
        requests.append(rest[_LENGTH : _LENGTH + length])
        rest = rest[_LENGTH + length :]
    return method, tuple(requests)


def join(method: Method, requests: tuple[bytes, ...]) -> bytes:
    """The input that stands for a method and its messages."""
    if method.requests_stream:
        requests = tuple(len(request).to_bytes(_LENGTH, "big") + request for request in requests)
    return bytes([METHODS.index(method)]) + b"".join(requests)


def write_seeds(folder: Path, seed: int, number: int) -> None:
    """Inputs to begin with: undamaged and damaged requests of every method."""
    order = random.Random(seed)
    for method in METHODS:
        for place in range(number):
            data = join(method, method.requests(order))
            (folder / f"{method.path.rpartition('/')[2]}-{place}").write_bytes(data[:LONGEST])
