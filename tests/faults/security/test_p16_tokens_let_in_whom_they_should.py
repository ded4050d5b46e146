"""Bearer tokens: every method with every kind of token, before anything of the call is read, in constant time."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.cli import main
from service.client.client import Client
from service.client.errors import AccessDeniedError
from service.errors import PermissionDeniedError, UnauthenticatedError
from service.pb import translation_pb2 as pb
from service.security.access import Access
from service.security.files import WatchedFiles
from service.security.scopes import METHODS
from service.security.tokens import read_tokens
from tests.faults.security.answers import MODEL, REQUESTS, SENTENCE, SERVICE, ask
from tests.faults.security.servers import Started, started

CHANGE_S = 60.0
SCOPES: dict[str, tuple[list[str], str]] = {
    "all": (["translate:*", "read", "manage"], "2999-01-01T00:00:00Z"),
    "translator": (["translate:en-de-*"], "2999-01-01T00:00:00Z"),
    "reader": (["read:en-de-*"], "2999-01-01T00:00:00Z"),
    "tenant": (["translate:en-ko-*", "read:en-ko-*"], "2999-01-01T00:00:00Z"),
    "manager": (["manage"], "2999-01-01T00:00:00Z"),
    "expired": (["translate:*", "read", "manage"], "2020-01-01T00:00:00Z"),
}
TRANSLATING = ("Translate", "StreamTranslate", "TranslateInteractive", "Score")


def write_tokens(path: Path, names: list[str]) -> None:
    entries = [
        {
            "name": name,
            "sha256": hashlib.sha256(f"secret-{name}".encode()).hexdigest(),
            "scopes": SCOPES[name][0],
            "expires": SCOPES[name][1],
        }
        for name in names
    ]
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"tokens": entries}))
    new.replace(path)


@pytest.fixture(scope="module")
def guarded(serve: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    folder = tmp_path_factory.mktemp("tokens")
    write_tokens(folder / "tokens.json", list(SCOPES))
    with started((*serve, "--tokens-file", str(folder / "tokens.json")), folder / "log") as server:
        yield server


@pytest.fixture(scope="module")
def guarded_channel(guarded: Started) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(guarded.address) as channel:
        yield channel


def bearer(name: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer secret-{name}")]


NOBODY: dict[str, list[tuple[str, str]]] = {
    "none": [],
    "empty": [("authorization", "")],
    "another scheme": [("authorization", "Basic secret-all")],
    "no scheme": [("authorization", "secret-all")],
    "scheme alone": [("authorization", "Bearer ")],
    "two": [*bearer("all"), *bearer("all")],
    "wrong": bearer("nobody"),
    "the digest itself": [("authorization", f"Bearer {hashlib.sha256(b'secret-all').hexdigest()}")],
    "nearly right": [("authorization", "Bearer secret-al")],
    "with a space": [("authorization", "Bearer  secret-all")],
    "very long": [("authorization", "Bearer " + "a" * 4_000)],
    "expired": bearer("expired"),
}


@pytest.mark.fault(21)
@pytest.mark.parametrize("kind", NOBODY)
@pytest.mark.parametrize("method", REQUESTS)
def test_nobody_gets_in_without_a_valid_token(guarded_channel: grpc.Channel, method: str, kind: str) -> None:
    """UNAUTHENTICATED with the same words, also for bytes that are no message and for models that are not there."""
    absent = pb.GetModelRequest(model="no-such-model")
    for message in (REQUESTS[method], b"\xff\xff", absent):
        answer = ask(guarded_channel, method, message, metadata=NOBODY[kind])
        assert (answer.name, answer.details) == ("UNAUTHENTICATED", "a valid bearer token is needed")
        assert answer.trailing.keys() == {"x-request-id"}


def expected(name: str, method: str) -> str:
    scopes = {
        "all": set(REQUESTS),
        "translator": set(TRANSLATING),
        "reader": {"ListModels", "GetModel"},
        "tenant": {"ListModels"},
        "manager": set(),
    }[name]
    return "OK" if method in scopes else "PERMISSION_DENIED"


@pytest.mark.fault(22)
@pytest.mark.parametrize("name", [name for name in SCOPES if name != "expired"])
@pytest.mark.parametrize("method", REQUESTS)
def test_a_token_allows_its_methods_on_its_models_alone(guarded_channel: grpc.Channel, method: str, name: str) -> None:
    """OK, or PERMISSION_DENIED with the same words for a method and for a model that is not the token's."""
    answer = ask(guarded_channel, method, metadata=bearer(name))
    assert answer.name == expected(name, method)
    if answer.name != "OK":
        assert answer.details == "the token does not allow this"
        assert ask(guarded_channel, method, metadata=[("authorization", f"BEARER secret-{name}")]).name == answer.name


@pytest.mark.fault(22)
def test_a_tenant_does_not_learn_which_models_others_have(guarded_channel: grpc.Channel) -> None:
    """PERMISSION_DENIED for a model that is there and for one that is not."""
    answers = [
        ask(guarded_channel, "GetModel", pb.GetModelRequest(model=model), metadata=bearer("tenant"))
        for model in (MODEL, "no-such-model", "../etc")
    ]
    assert {(answer.name, answer.details) for answer in answers} == {
        ("PERMISSION_DENIED", "the token does not allow this")
    }
    own = ask(guarded_channel, "GetModel", pb.GetModelRequest(model="en-ko-transformer"), metadata=bearer("tenant"))
    assert own.name == "OK"


@pytest.mark.fault(21)
def test_health_needs_no_token(guarded_channel: grpc.Channel) -> None:
    """SERVING for everybody."""
    response = health_pb2_grpc.HealthStub(guarded_channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
    assert response.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.fault(21)
def test_the_client_says_what_is_missing(guarded: Started) -> None:
    """An AccessDeniedError in one line."""
    with Client(guarded.address) as client, pytest.raises(AccessDeniedError, match="a valid bearer token is needed"):
        client.translate([SENTENCE], model=MODEL)


def every_method() -> set[str]:
    """The methods of every service in service.pb."""
    import importlib
    import pkgutil

    import service.pb as package

    modules = [module.name for module in pkgutil.iter_modules(package.__path__) if module.name.endswith("_pb2")]
    files = [importlib.import_module(f"service.pb.{name}").DESCRIPTOR for name in modules]
    return {
        f"/{service.full_name}/{method.name}"
        for file in files
        for service in file.services_by_name.values()
        for method in service.methods
    }


@pytest.mark.fault(22)
def test_every_method_is_in_a_group_and_one_that_is_not_is_allowed_to_nobody(tmp_path: Path) -> None:
    """PERMISSION_DENIED for a method that nobody put into a group, even with every scope."""
    assert every_method() - METHODS.keys() == set()
    assert {path for path in METHODS if path.startswith("/stepstream.")} <= every_method()
    write_tokens(tmp_path / "tokens.json", ["all"])
    access = Access(WatchedFiles([tmp_path / "tokens.json"], lambda: read_tokens(tmp_path / "tokens.json")))
    assert access.grant(f"{SERVICE}Translate", bearer("all")).caller == "all"
    with pytest.raises(PermissionDeniedError):
        access.grant(f"{SERVICE}NewMethod", bearer("all"))
    with pytest.raises(UnauthenticatedError):
        access.grant(f"{SERVICE}NewMethod", [])


@pytest.mark.fault(21)
def test_tokens_change_while_the_server_runs(serve: tuple[str, ...], tmp_path: Path, capsys: Any) -> None:
    """A new token is taken, one that was removed is not, and a file that is broken changes nothing and is logged."""
    path = tmp_path / "tokens.json"
    write_tokens(path, ["all"])
    with (
        started((*serve, "--tokens-file", str(path)), tmp_path / "log") as server,
        grpc.insecure_channel(server.address) as channel,
    ):

        def wait_for(name: str, authorization: str) -> None:
            end = time.monotonic() + CHANGE_S
            while ask(channel, "ListModels", metadata=[("authorization", authorization)]).name != name:
                assert time.monotonic() < end
                time.sleep(0.1)

        assert main(["token", "new", "--scope", "read", "--days", "1", "--add-to", str(path)]) == 0
        (token,) = capsys.readouterr().out.split()
        assert token not in path.read_text()
        wait_for("OK", f"Bearer {token}")
        path.write_text('{"tokens": [')
        end = time.monotonic() + CHANGE_S
        while not any(record["event"] == "changed files are not used" for record in server.records()):
            assert time.monotonic() < end
            time.sleep(0.1)
        wait_for("OK", f"Bearer {token}")
        write_tokens(path, ["reader"])
        wait_for("UNAUTHENTICATED", f"Bearer {token}")
        wait_for("OK", "Bearer secret-reader")
        assert token not in (tmp_path / "log").read_text()
