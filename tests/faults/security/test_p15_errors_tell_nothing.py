"""What a caller is told of an error: a literal of the source with numbers, whatever was sent and whatever failed."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import string
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service import errors
from service.client.client import AsyncClient
from service.client.errors import ServerError, ServerUnreachableError
from service.errors import InvalidRequestError, ServiceError
from service.pb import translation_pb2 as pb
from service.translator import Translator
from tests.faults.security.answers import MODEL, REQUESTS, SENTENCE, Answer, ask

SOURCES = Path(__file__).parents[3] / "service"
ERRORS = {name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ServiceError)}
NUMBER = r"-?(\d+(\.\d+)?(e[+-]?\d+)?|nan|inf)"
NAMED = {"field": "[a-z_]+", "languages": r"[A-Za-z0-9_@., -]*"}
OF_GRPC = (
    r"(SERVER: |CLIENT: )?(Received|Sent|Decompressed) message larger than max \(\d+ vs\. \d+\)",
    r"Method not found!",
    r"received metadata size exceeds (soft|hard) limit.*",
)
"""What gRPC answers itself, before the server's handler hears of a call."""


def raised() -> list[tuple[str, ast.Call]]:
    """Every place in the sources where an error for a caller is made."""
    return [
        (f"{path.relative_to(SOURCES)}:{node.lineno}", node)
        for path in sorted(SOURCES.rglob("*.py"))
        if not {"client", "pb"} & set(path.relative_to(SOURCES).parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS
    ]


def pattern(template: str) -> str:
    """What a template may become."""
    parts = [
        re.escape(literal) + ("" if name is None else NAMED.get(name, NUMBER))
        for literal, name, _, _ in string.Formatter().parse(template)
    ]
    return "".join(parts)


CATALOGUE = [
    pattern(node.args[0].value)
    for _, node in raised()
    if node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)
]


def is_in_the_catalogue(details: str) -> bool:
    return any(re.fullmatch(one, details, re.DOTALL) for one in (*CATALOGUE, *OF_GRPC))


def test_every_error_is_made_of_a_literal() -> None:
    made = raised()
    assert len(made) > 30
    others = [place for place, node in made if not (node.args and isinstance(node.args[0], ast.Constant))]
    assert others == []


def test_an_error_takes_nothing_but_numbers_and_the_name_of_a_field() -> None:
    for wrong in ({"number": "text"}, {"field": "Some text"}, {"field": "/etc"}):
        with pytest.raises(TypeError):
            InvalidRequestError("{field} {number}", **wrong)  # type: ignore[arg-type]
    assert str(InvalidRequestError("{field} is {number}", field="beam_size", number=3)) == "beam_size is 3"


def assert_tells_nothing(answer: Answer) -> None:
    assert answer.name != "UNKNOWN"
    if answer.name != "OK":
        assert is_in_the_catalogue(answer.details), answer
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", answer.trailing["x-request-id"])


def _floats() -> st.SearchStrategy[float]:
    return st.floats(width=32) | st.sampled_from([0.0, 1.0, -1.0])


INTEGERS = st.integers(-(2**31), 2**31 - 1) | st.integers(-2, 40)
TEXTS = st.text(max_size=40) | st.sampled_from(["", " ", "</s>", "%1", "{0}", "\ufeff", SENTENCE, "/etc/passwd"])
OPTIONS = st.builds(
    pb.DecodingOptions,
    max_length=INTEGERS,
    seed=st.none() | st.integers(0, 2**64 - 1),
    beam_size=INTEGERS,
    num_hypotheses=INTEGERS,
    length_penalty=st.none() | _floats(),
    coverage_penalty=_floats(),
    patience=st.none() | _floats(),
    min_length=INTEGERS,
    repetition_penalty=st.none() | _floats(),
    no_repeat_ngram_size=INTEGERS,
    suppress_tokens=st.lists(TEXTS, max_size=3),
    sampling=st.none()
    | st.builds(pb.Sampling, temperature=_floats(), top_k=INTEGERS, top_p=_floats(), min_p=_floats()),
    target_prefix=TEXTS,
    target_prefix_ids=st.lists(INTEGERS, max_size=3),
    return_alternatives=st.booleans(),
    min_alternative_expansion_prob=_floats(),
    num_candidates=INTEGERS,
    terms=st.lists(st.builds(pb.Term, phrases=st.lists(TEXTS, max_size=3)), max_size=3),
    untranslated=st.lists(TEXTS, max_size=3),
)
NAMES = st.sampled_from([MODEL, "en-ko-transformer"]) | TEXTS
STREAMS = st.builds(
    pb.StreamTranslateRequest,
    model=NAMES,
    version=st.just(0) | st.integers(-(2**63), 2**63 - 1),
    text=TEXTS,
    options=st.just(pb.DecodingOptions(max_length=3)) | OPTIONS,
    include_attention=st.booleans(),
)
many = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@many
@given(request=STREAMS)
def test_whatever_is_asked_for_the_answer_is_in_the_catalogue(
    channel: grpc.Channel, request: pb.StreamTranslateRequest
) -> None:
    assert_tells_nothing(ask(channel, "StreamTranslate", request))


@many
@given(start=STREAMS, edits=st.lists(TEXTS, max_size=2))
def test_whatever_is_edited_the_answer_is_in_the_catalogue(
    channel: grpc.Channel, start: pb.StreamTranslateRequest, edits: list[str]
) -> None:
    messages = [pb.TranslateInteractiveRequest(edit=pb.Edit(target_prefix=edit)) for edit in edits]
    assert_tells_nothing(ask(channel, "TranslateInteractive", pb.TranslateInteractiveRequest(start=start), *messages))


@many
@given(method=st.sampled_from(list(REQUESTS)), message=st.binary(max_size=60))
def test_whatever_bytes_are_sent_the_answer_is_in_the_catalogue(
    channel: grpc.Channel, method: str, message: bytes
) -> None:
    assert_tells_nothing(ask(channel, method, message))


async def test_an_unforeseen_error_is_internal_with_the_id_that_the_log_has(
    inside: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError(f"/etc/secret {SENTENCE}")

    monkeypatch.setattr("service.registry.Registry.find", fail)
    async with grpc.aio.insecure_channel(inside) as channel:
        for method in ("Translate", "GetModel", "Score"):
            call = channel.unary_unary(f"/stepstream.v1.TranslationService/{method}")(
                REQUESTS[method].SerializeToString(), metadata=(("x-request-id", f"id-{method}"),), timeout=60
            )
            assert (await call.code(), await call.details()) == (
                grpc.StatusCode.INTERNAL,
                "an internal error; the server's log tells more",
            )
            assert dict(await call.trailing_metadata())["x-request-id"] == f"id-{method}"
    logged = "".join(capsys.readouterr())
    assert logged.count("request failed") == 3
    assert "id-Score" in logged
    assert "RuntimeError" in logged
    assert SENTENCE not in logged


@pytest.mark.parametrize("method", ["Translate", "StreamTranslate", "TranslateInteractive", "Score"])
async def test_a_cancellation_that_nobody_asked_for_ends_the_call(
    inside: str, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """UNAVAILABLE, where the client would wait for ever without a status; the next call is served."""
    real = Translator.read

    async def cancelled(*_: Any, **__: Any) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.cancel)
        await future

    for name in ("read", "translate", "score"):
        monkeypatch.setattr(Translator, name, cancelled)
    async with asyncio.timeout(60), grpc.aio.insecure_channel(inside) as channel:
        path = f"/stepstream.v1.TranslationService/{method}"
        message = REQUESTS[method].SerializeToString()
        call: Any
        if method == "TranslateInteractive":
            call = channel.stream_stream(path)(iter([message]))
        elif method == "StreamTranslate":
            call = channel.unary_stream(path)(message)
        else:
            call = channel.unary_unary(path)(message)
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        assert is_in_the_catalogue(await call.details())
    monkeypatch.setattr(Translator, "read", real)
    async with AsyncClient(inside) as client:
        events = [event async for event in client.stream(SENTENCE, model=MODEL)]
    assert events


async def test_a_cancellation_by_the_client_goes_through_the_handler_and_is_counted_as_one(
    inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler is cancelled, its clean-up runs, and the call counts as CANCELLED and not as abandoned."""
    entered, left = asyncio.Event(), asyncio.Event()
    codes: asyncio.Queue[str] = asyncio.Queue()

    async def wait(*_: Any) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    monkeypatch.setattr(Translator, "read", wait)
    monkeypatch.setattr(
        "service.observability.access_log.AccessLog.call_ended", lambda _, call: codes.put_nowait(call.code)
    )
    async with asyncio.timeout(60), grpc.aio.insecure_channel(inside) as channel:
        path = "/stepstream.v1.TranslationService/StreamTranslate"
        call = channel.unary_stream(path)(REQUESTS["StreamTranslate"].SerializeToString())
        await entered.wait()
        call.cancel()
        await left.wait()
        assert await codes.get() == "CANCELLED"


async def test_the_client_names_what_the_server_answers(inside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.registry.Registry.find", lambda *_: 1 / 0)
    async with AsyncClient(inside) as client:
        with pytest.raises(ServerError, match="an internal error"):
            await client.get_model(MODEL)
    with pytest.raises(ServerUnreachableError):
        async with AsyncClient("127.0.0.1:1", connect_timeout_s=1.0) as client:
            await client.get_model(MODEL, timeout_s=30.0)
