"""Bearer tokens: kept as SHA-256 digests, compared in constant time, whoever presents whatever."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from service.errors import UnauthenticatedError
from service.security.scopes import Scope, parse_scope

LEEWAY_S = 60.0
"""Seconds that a token is taken after it has expired, for clocks that differ."""
SCHEME = "bearer "
_NEVER = float("inf")
_ABOVE_ZERO = 2**20
"""Python computes with 0, and with the small numbers that it keeps, faster than with others."""


@dataclass(frozen=True)
class Token:
    """What is known of one token: whose it is, its SHA-256, what it allows, until when in seconds of Unix time."""

    name: str
    digest: bytes
    scopes: tuple[Scope, ...]
    expires_at: float = _NEVER


_REFUSED = Token("", b"\0" * 32, (), expires_at=-_NEVER)
"""Whose token is none of the known ones: it takes the same way as an expired one."""


class Tokens:
    """Tells whose a token is."""

    def __init__(self, tokens: Sequence[Token], *, clock: Callable[[], float] = time.time) -> None:
        """clock: seconds of Unix time."""
        self._candidates = (_REFUSED, *tokens)
        self._clock = clock

    def find(self, authorization: str) -> Token:
        """The token in the value of `authorization`, "Bearer TOKEN". Raises UnauthenticatedError, after the same work,
        for one that is missing, malformed, unknown or expired."""
        scheme, presented = authorization[: len(SCHEME)], authorization[len(SCHEME) :]
        digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).digest()
        found = _ABOVE_ZERO
        for place, candidate in enumerate(self._candidates):
            found += place * hmac.compare_digest(candidate.digest, digest)
        found = (found - _ABOVE_ZERO) * hmac.compare_digest(scheme.lower().encode(), SCHEME.encode())
        token = self._candidates[found]
        if self._clock() > token.expires_at + LEEWAY_S:
            raise UnauthenticatedError("a valid bearer token is needed")
        return token


class _Entry(BaseModel):
    """One token of the file."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    scopes: Annotated[list[str], Field(min_length=1)]
    expires: AwareDatetime | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tokens: list[_Entry]


def read_tokens(path: Path) -> Tokens:
    """The tokens of a file, TOML if it is called so, otherwise JSON; raises OSError, or ValueError in one line that
    holds nothing of the file but its field names."""
    text = path.read_text(encoding="utf-8")
    try:
        entries = _File.model_validate(tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)).tokens
        tokens = [_token(entry) for entry in entries]
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{path}: {place}: {first['msg']}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    for what in ({token.name for token in tokens}, {token.digest for token in tokens}):
        if len(what) != len(tokens):
            raise ValueError(f"{path}: two tokens are the same or have the same name")
    return Tokens(tokens)


def _token(entry: _Entry) -> Token:
    return Token(
        entry.name,
        bytes.fromhex(entry.sha256),
        tuple(parse_scope(scope) for scope in entry.scopes),
        _NEVER if entry.expires is None else entry.expires.timestamp(),
    )


def make_entry(name: str, secret: str, scopes: Sequence[str], expires: datetime | None) -> dict[str, object]:
    """What a file has of a token; raises ValueError."""
    entry = _Entry(name=name, sha256=hashlib.sha256(secret.encode()).hexdigest(), scopes=list(scopes), expires=expires)
    _token(entry)
    return entry.model_dump(mode="json", exclude_none=True)
