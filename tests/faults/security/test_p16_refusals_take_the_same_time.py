"""What is done for a refusal, instruction by instruction: nothing of a token can be learnt from how long it takes. (The
clocks of some machines still tell a few nanoseconds apart, which no network carries.)"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from service.errors import UnauthenticatedError
from service.security import tokens as tokens_module
from service.security.scopes import Scope, parse_scope
from service.security.tokens import Token, Tokens


def instructions(find: Callable[[str], Any], presented: str) -> list[tuple[str, int]]:
    """Every instruction of Python that `find` carries out: its function and its place in it."""
    done: list[tuple[str, int]] = []

    def trace(frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        if frame.f_code.co_filename not in (__file__, tokens_module.__file__):
            return None  # whatever the garbage collector runs in between
        frame.f_trace_opcodes = True
        if event == "opcode":
            done.append((frame.f_code.co_qualname, frame.f_lasti))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        find(presented)
    except UnauthenticatedError:
        pass
    finally:
        sys.settrace(before)
    return done


KNOWN = [f"secret-{number:04}" for number in range(64)]
UNKNOWN = [f"Bearer unknow-{number:04}" for number in range(64)]


def known_tokens(*, expires_at: float = math.inf) -> list[Token]:
    scopes = (Scope(parse_scope("read").group),)
    return [Token(name, hashlib.sha256(name.encode()).digest(), scopes, expires_at) for name in KNOWN]


KINDS = {
    "expired": [f"Bearer {name}" for name in KNOWN],
    "malformed": [f"Basic  {name}" for name in KNOWN],
    "near": [f"Bearer {name[:-1]}x" for name in KNOWN],
}


NEVER_EXPIRED = known_tokens()


def ends_early(authorization: str) -> Token | None:
    """A search that stops at the first match."""
    digest = hashlib.sha256(authorization.removeprefix("Bearer ").encode()).digest()
    return next((token for token in NEVER_EXPIRED if token.digest == digest), None)


@pytest.mark.fault(21)
@pytest.mark.parametrize("kind", KINDS)
def test_every_refusal_is_the_same_work(kind: str) -> None:
    """Wrong tokens and expired, malformed or nearly right ones go the same way, instruction by instruction."""
    find = Tokens(known_tokens(expires_at=0.0)).find
    [wrong, *others] = [instructions(find, presented) for presented in (UNKNOWN[0], *KINDS[kind])]
    assert len(wrong) > 64
    assert all(other == wrong for other in others)


def test_a_search_that_ends_early_is_other_work() -> None:
    assert instructions(ends_early, f"Bearer {KNOWN[0]}") != instructions(ends_early, UNKNOWN[0])
