"""How the servers of these tests are started, what they are asked, and how long is waited for them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from service.client.server_process import SERVE_COMMAND
from service.pb import translation_pb2 as pb

MODEL = "en-de-transformer"
SENTENCE = "A man in a blue shirt is standing on a ladder cleaning a window."
NUM_TOKENS = 200
"""Of a long translation: more than any test waits for."""
LIMIT_S = 60.0
_INTERPRETER, _MODULE, _CLI, *_SERVE = SERVE_COMMAND


def command(store: Path, *flags: str, alterations: Sequence[str] = ()) -> tuple[str, ...]:
    """Serve a store, altered as `altered_server` can."""
    serve = (*_SERVE, "--model-store", str(store), "--no-verify-certificates", *flags)
    if alterations:
        return (_INTERPRETER, _MODULE, "tests.faults.altered_server", *alterations, "--", *serve)
    return (sys.executable, _MODULE, _CLI, *serve)


def long_request(num_tokens: int = NUM_TOKENS) -> pb.StreamTranslateRequest:
    """A translation of so many tokens."""
    options = pb.DecodingOptions(min_length=num_tokens - 1, max_length=num_tokens)
    return pb.StreamTranslateRequest(model=MODEL, text=SENTENCE, options=options)


def until(is_so: Callable[[], bool], *, timeout_s: float = LIMIT_S) -> None:
    """Wait; AssertionError where it has not come so in time."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "it has not come so in time"
        time.sleep(0.02)


def short_request() -> pb.StreamTranslateRequest:
    return pb.StreamTranslateRequest(model=MODEL, text=SENTENCE)
