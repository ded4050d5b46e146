"""The shipped TLS listener of Envoy, before the proxy, before a server that asks for tokens."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from hostile.envoy import CONFIG, find_envoy, running_envoy
from hostile.ports import free_port
from service.client.client import Client
from service.client.credentials import Credentials
from service.client.errors import StepstreamError
from service.client.retry import RetryPolicy
from service.security.tokens import make_entry
from tests.faults.load import MODEL, TEXTS, eventually
from tests.faults.replicas import running_replicas, store_of
from tests.faults.security.certificates import Authority, Pair

TOKEN = "st_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
ONCE = RetryPolicy(max_attempts=1)


@contextmanager
def running_tls(proxy: str, pair: Pair, folder: Path) -> Iterator[str]:
    """HOST:PORT of the listener: the shipped file with the test's addresses and certificate."""
    program = find_envoy()
    if program is None:
        pytest.skip("envoy is not installed")
    certificate, key = pair.save(folder, "public")
    text = CONFIG.with_name("envoy-tls.yaml").read_text()
    config = yaml.safe_load(
        text.replace("/run/secrets/certificate", str(certificate)).replace("/run/secrets/key", str(key))
    )
    port = free_port()
    [listener], [cluster] = config["static_resources"]["listeners"], config["static_resources"]["clusters"]
    listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": port}
    [endpoint] = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    host, _, number = proxy.rpartition(":")
    endpoint["endpoint"]["address"]["socket_address"] = {"address": host, "port_value": int(number)}
    (folder / "tls.yaml").write_text(yaml.safe_dump(config))
    process = subprocess.Popen(
        [program, "-c", str(folder / "tls.yaml"), "--disable-hot-restart", "--concurrency", "1", "--log-level", "error"]
    )
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def outcome(address: str, credentials: Credentials) -> str:
    """A translation, or why there is none."""
    with Client(address, credentials=credentials, retry=ONCE) as client:
        try:
            return client.translate([TEXTS[0]], model=MODEL, timeout_s=60)[0].text
        except StepstreamError as error:
            return type(error).__name__


@pytest.mark.fault(21, 23)
async def test_a_token_comes_through_tls_and_the_proxy_and_nothing_else_does(tmp_path: Path) -> None:
    """A client that believes the right authority and has a token gets its translation; without the token it is refused
    by the server; with another authority, or without TLS, it gets no connection."""
    authority = Authority("ours")
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps({"tokens": [make_entry("somebody", TOKEN, ["translate"], None)]}))
    store = store_of(tmp_path / "store", MODEL)
    with (
        running_replicas(1, store, tokens_file=tokens) as [replica],
        running_envoy([replica.address], tmp_path) as envoy,
        running_tls(envoy.address, authority.sign("public"), tmp_path) as address,
    ):
        envoy.wait_until_healthy(replica.address)
        right = Credentials(tls=True, ca=authority.certificate, token=TOKEN)
        await eventually(lambda: outcome(address, right).startswith("Ein Mann"))
        assert outcome(address, Credentials(tls=True, ca=authority.certificate)) == "AccessDeniedError"
        assert outcome(address, Credentials(tls=True, ca=Authority("another").certificate, token=TOKEN)) == (
            "ServerUnreachableError"
        )
        assert outcome(address, Credentials()) == "ServerUnreachableError"
