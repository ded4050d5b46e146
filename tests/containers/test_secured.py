"""deploy/secured.yml: TLS outside, and a token asked of every call."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostile.rolling.load import MODEL
from service.client.client import Client
from service.client.credentials import Credentials
from service.client.errors import AccessDeniedError, ServerUnreachableError
from tests.containers.engine import Engine, needs_an_engine
from tests.faults.security.certificates import Authority

pytestmark = [pytest.mark.containers, needs_an_engine]
ENVOY, OURS = 101, 10001
"""The users that read the secrets."""
TEXT = "Two dogs play in the snow."


@pytest.fixture(scope="module")
def secured(engine: Engine) -> Iterator[Credentials]:
    """Whom to believe, and a token, for the proxy of servers that are up."""
    folder = Path(engine.environment["SECRETS"])
    folder.mkdir(exist_ok=True)
    authority = Authority("stepstream test")
    pair = authority.sign("proxy")
    (folder / "certificate.pem").write_bytes(pair.certificate)
    (folder / "key.pem").write_bytes(pair.key)
    tokens = folder / "tokens.json"
    tokens.unlink(missing_ok=True)
    command = (sys.executable, "-m", "service.cli", "token", "test", "--scope", "translate", "--add-to", str(tokens))
    token = engine.run(*command).strip()
    for name, user in (("certificate.pem", ENVOY), ("key.pem", ENVOY), ("tokens.json", OURS)):
        (folder / name).chmod(0o400)
        os.chown(folder / name, user, -1)
    with engine.up("stepstream", "envoy", more=("deploy/secured.yml", "tests/containers/override_secured.yml")):
        yield Credentials(tls=True, ca=authority.certificate, token=token)


def test_a_token_opens_the_proxy_over_tls(engine: Engine, secured: Credentials) -> None:
    with Client(engine.address, credentials=secured) as client:
        assert client.translate([TEXT], model=MODEL)[0].text == "Zwei Hunde spielen im Schnee."


def test_without_a_token_nothing_is_translated(engine: Engine, secured: Credentials) -> None:
    credentials = Credentials(tls=True, ca=secured.ca)
    with Client(engine.address, credentials=credentials) as client, pytest.raises(AccessDeniedError):
        client.translate([TEXT], model=MODEL)


def test_without_tls_there_is_no_answer(engine: Engine, secured: Credentials) -> None:
    with Client(engine.address, credentials=Credentials()) as client, pytest.raises(ServerUnreachableError):
        client.translate([TEXT], model=MODEL)


def test_the_page_s_port_is_closed(engine: Engine, secured: Credentials) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(engine.environment["PAGE_PORT"])), timeout=10).close()
