"""What requests are called: by their client, or by us. Two that run at the same time are never called the same."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from service.errors import DuplicateRequestError

REQUEST_ID = "x-request-id"
"""Metadata that names a request: from the client, or of our own making; always in the trailing metadata."""
REQUEST_ID_PATTERN = r"[A-Za-z0-9._-]{1,64}"


def request_id_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """What the client calls the request, if that can be an id; otherwise one of our own."""
    for key, value in metadata:
        if key == REQUEST_ID and isinstance(value, str) and re.fullmatch(REQUEST_ID_PATTERN, value):
            return value
    return secrets.token_hex(16)


class ActiveIds:
    """The ids of the requests under way, for each caller its own."""

    def __init__(self) -> None:
        self._active: set[tuple[str, str]] = set()

    @contextmanager
    def held(self, caller: str, request_id: str) -> Iterator[None]:
        """One request, for as long as the block runs; raises DuplicateRequestError where one of its id runs already."""
        key = (caller, request_id)
        if key in self._active:
            raise DuplicateRequestError("a request of this id runs already")
        self._active.add(key)
        try:
            yield
        finally:
            self._active.remove(key)
