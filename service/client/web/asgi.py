"""What the page's server says over HTTP, in the words of ASGI. Every answer has the headers that confine a page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Headers: TypeAlias = tuple[tuple[str, str], ...]

TEXT = "text/plain; charset=utf-8"
CONFINED: Headers = (
    ("cache-control", "no-cache"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
)


def header(scope: Scope, name: str) -> str:
    """The first header of this name, in lower case; empty where there is none."""
    found = (value.decode("latin-1") for key, value in scope["headers"] if key == name.encode("ascii"))
    return next(found, "")


async def start(send: Send, status: int, content_type: str, headers: Headers = ()) -> None:
    """Status and headers of an answer; its body follows."""
    pairs = (("content-type", content_type), *CONFINED, *headers)
    encoded = [(name.encode("ascii"), value.encode("latin-1")) for name, value in pairs]
    await send({"type": "http.response.start", "status": status, "headers": encoded})


async def respond(send: Send, status: int, body: bytes, content_type: str = TEXT, headers: Headers = ()) -> None:
    """A whole answer."""
    await start(send, status, content_type, (("content-length", str(len(body))), *headers))
    await send({"type": "http.response.body", "body": body})
