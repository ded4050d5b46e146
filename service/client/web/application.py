"""What the page's server answers: the page's files, how busy the translating server is, and relayed calls."""

from __future__ import annotations

import hashlib
import json
import mimetypes
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from service.client.web.asgi import Receive, Scope, Send, header, respond
from service.client.web.load import LoadMeter
from service.client.web.relay import RELAYED, Relay

STATIC = Path(__file__).parent / "static"
JSON = "application/json"


@dataclass(frozen=True)
class _File:
    body: bytes
    content_type: str
    tag: str


class Application:
    """One ASGI application. Paths are looked up, never joined to a folder."""

    def __init__(
        self, relay: Relay, meter: LoadMeter, *, server_url: str = "", names: Collection[str] | None = None
    ) -> None:
        """server_url: origin that the page sends its calls to, such as that of a proxy that speaks gRPC-Web; empty for
        this relay. names: the hosts that a browser may call this server by, None for any. A page of another site that
        has its own name point here is not answered (DNS rebinding)."""
        self._relay = relay
        self._meter = meter
        self._names = names
        files = {f"/{path.name}": path.read_bytes() for path in STATIC.iterdir()}
        files["/configuration.json"] = json.dumps({"server": server_url}).encode()
        self._files = {path: _file(path, body) for path, body in files.items()}
        self._files["/"] = self._files["/index.html"]
        self._policy = (("content-security-policy", content_security_policy(server_url)),)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host, path, method = header(scope, "host"), scope["path"], scope["method"]
        origin = header(scope, "origin")
        if self._names is not None and _split(f"//{host}").hostname not in self._names:
            await respond(send, 421, b"this server is not called so; see --allow-host\n")
        elif origin and _split(origin).netloc != host:
            await respond(send, 403, b"for its own page alone\n")
        elif path in RELAYED:
            if method == "POST":
                await self._relay(scope, receive, send)
            else:
                await respond(send, 405, b"POST alone\n", headers=(("allow", "POST"),))
        elif method not in ("GET", "HEAD"):
            await respond(send, 405, b"GET alone\n", headers=(("allow", "GET, HEAD"),))
        elif path == "/load":
            await self._tell_load(send)
        else:
            await self._send_file(scope, send)

    async def _tell_load(self, send: Send) -> None:
        load = await self._meter.read()
        if load is None:
            await respond(send, 503, b"no server tells its load\n")
        else:
            await respond(send, 200, json.dumps(asdict(load)).encode(), JSON)

    async def _send_file(self, scope: Scope, send: Send) -> None:
        if (file := self._files.get(scope["path"])) is None:
            await respond(send, 404, b"not found\n")
        elif header(scope, "if-none-match") == file.tag:
            await respond(send, 304, b"", file.content_type, (("etag", file.tag), *self._policy))
        else:
            await respond(send, 200, file.body, file.content_type, (("etag", file.tag), *self._policy))


def content_security_policy(server_url: str) -> str:
    """Scripts, styles and pictures of this server alone, no code within the page, calls to this server and to
    server_url."""
    directives = (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        f"connect-src 'self' {server_url}".rstrip(),
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
    return "; ".join(directives)


def _split(url: str) -> SplitResult:
    """The empty URL for what is none."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _file(path: str, body: bytes) -> _File:
    content_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
    if content_type.startswith("text/"):
        content_type += "; charset=utf-8"
    return _File(body, content_type, f'"{hashlib.sha256(body).hexdigest()[:16]}"')
