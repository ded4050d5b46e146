"""How long a refusal takes, measured as by dudect, and what is done for it, instruction by instruction: nothing of a
token can be learnt from either."""

from __future__ import annotations

import hashlib
import math
import random
import statistics
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from service.errors import UnauthenticatedError
from service.security.scopes import Scope, parse_scope
from service.security.tokens import Token, Tokens

NUM_TRIALS = 20_000
LIMIT = 4.5


def welch(one: list[int], other: list[int]) -> float:
    """Welch's t of two samples of durations, without the slowest twentieth of both together, which measure the machine
    (Reparaz, Balasch and Verbauwhede 2017)."""
    cut = sorted(one + other)[int(0.95 * len(one + other))]
    samples = [[value for value in sample if value <= cut] for sample in (one, other)]
    means = [statistics.fmean(sample) for sample in samples]
    errors = [statistics.variance(sample) / len(sample) for sample in samples]
    return abs(means[0] - means[1]) / math.sqrt(sum(errors))


def durations(find: Callable[[str], Any], one: list[str], other: list[str], seed: int) -> tuple[list[int], list[int]]:
    """Of `find` in nanoseconds, on both in a random order."""
    draw, times = random.Random(seed), ([], [])  # type: ignore[var-annotated]
    order = [0, 1] * NUM_TRIALS
    draw.shuffle(order)
    for kind in order:
        presented = draw.choice((one, other)[kind])
        begun = time.perf_counter_ns()
        try:
            find(presented)
        except UnauthenticatedError:
            spent = time.perf_counter_ns() - begun
        else:
            spent = time.perf_counter_ns() - begun
        times[kind].append(spent)
    return times


def instructions(find: Callable[[str], Any], presented: str) -> list[tuple[str, int]]:
    """Every instruction of Python that `find` carries out: its function and its place in it."""
    done: list[tuple[str, int]] = []

    def trace(frame: FrameType, event: str, _: Any) -> Callable[..., Any]:
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


@pytest.mark.fault(21)
@pytest.mark.parametrize("kind", KINDS)
def test_how_long_a_refusal_takes_tells_nothing(kind: str) -> None:
    """Wrong tokens and expired, malformed or nearly right ones take the same time: Welch's |t| < 4.5 over 2 x 20,000
    trials, where one that differs does so in every one of twelve measurements."""
    tokens = Tokens(known_tokens(expires_at=0.0))
    measured = []
    for seed in range(12):
        measured.append(welch(*durations(tokens.find, UNKNOWN, KINDS[kind], seed)))
        if measured[-1] < LIMIT:
            return
    pytest.fail(f"|t| = {measured}")


@pytest.mark.fault(21)
def test_a_comparison_that_ends_early_is_found_out() -> None:
    """The same measurement of a search that stops at the first match gives |t| above 4.5."""
    assert welch(*durations(ends_early, UNKNOWN, [f"Bearer {KNOWN[0]}"], 0)) > LIMIT
