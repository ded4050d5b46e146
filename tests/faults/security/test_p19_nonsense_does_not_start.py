"""Settings that make no sense, and ports that are taken: one line on stderr, and no server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from service.settings import Settings
from tests.faults.security.servers import Started


def start(command: tuple[str, ...], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=os.environ | environment
    )


def assert_refused(result: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    said = [line for line in result.stderr.splitlines() if not line.startswith("{")]
    assert (result.returncode, len(said), result.stdout) == (status, 1, ""), result.stderr
    for word in words:
        assert word in said[0]


NONSENSE = [
    ({"STEPSTREAM_PORT": "x"}, "port"),
    ({"STEPSTREAM_PORT": "65536"}, "port"),
    ({"STEPSTREAM_MAX_TEXT_BYTES": "0"}, "max_text_bytes"),
    ({"STEPSTREAM_MAX_MESSAGE_BYTES": "-1"}, "max_message_bytes"),
    ({"STEPSTREAM_MAX_CONCURRENT_STREAMS": "many"}, "max_concurrent_streams"),
    ({"STEPSTREAM_GRACE_S": "nan"}, "grace_s"),
    ({"STEPSTREAM_GRACE_S": "inf"}, "grace_s"),
    ({"STEPSTREAM_MAX_CALL_S": "inf"}, "max_call_s"),
    ({"STEPSTREAM_MAX_SLOTS": "9" * 20}, "max_slots"),
    ({"STEPSTREAM_TLS_CERTIFICATE": "/nowhere"}, "tls_certificate and tls_key go together"),
    ({"STEPSTREAM_TLS_KEY": "/nowhere"}, "tls_certificate and tls_key go together"),
    ({"STEPSTREAM_TLS_CLIENT_CA": "/nowhere"}, "tls_client_ca needs"),
    ({"STEPSTREAM_TOKENS_FILE": "/nowhere/tokens.json"}, "/nowhere/tokens.json"),
    ({"STEPSTREAM_SETTINGS_FILE": "/nowhere/settings.toml"}, "/nowhere/settings.toml"),
    ({"STEPSTREAM_ADMIN_HOST": "0.0.0.0"}, "admin_host is 0.0.0.0"),
    ({"STEPSTREAM_ADMIN_HOST": "::"}, "admin_host is ::"),
    ({"STEPSTREAM_ADMIN_HOST": "192.168.1.1"}, "admin_host"),
    ({"STEPSTREAM_ADMIN_HOST": "example.org"}, "admin_host"),
]


@pytest.mark.parametrize(("environment", "word"), NONSENSE)
def test_a_setting_that_makes_no_sense_is_named_in_one_line(environment: dict[str, str], word: str) -> None:
    """Exit status 2."""
    assert_refused(start((sys.executable, "-m", "service.cli", "serve"), **environment), 2, word)


@pytest.mark.fault(66)
def test_the_ports_for_operators_are_open_to_this_machine_alone_unless_callers_prove_themselves(tmp_path: Path) -> None:
    """Refused elsewhere without tokens and without mutual TLS; accepted with either."""
    assert Settings().admin_host == "127.0.0.1"
    assert Settings().host == "127.0.0.1"
    for loopback in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        assert Settings(admin_host=loopback).admin_host == loopback
    with pytest.raises(ValueError, match="that needs tokens_file or tls_client_ca"):
        Settings(admin_host="0.0.0.0")
    with pytest.raises(ValueError, match="that needs tokens_file or tls_client_ca"):
        Settings(admin_host="0.0.0.0", tls_certificate=tmp_path, tls_key=tmp_path)
    assert Settings(admin_host="0.0.0.0", tokens_file=tmp_path)
    assert Settings(admin_host="0.0.0.0", tls_certificate=tmp_path, tls_key=tmp_path, tls_client_ca=tmp_path)


def test_a_port_that_another_server_has_is_refused(serve: tuple[str, ...], server: Started) -> None:
    """Exit status 1, for the port of calls and for that of metrics."""
    for flag in ("--port", "--metrics-port"):
        place = serve.index(flag)
        command = (*serve[:place], flag, str(server.port), *serve[place + 2 :])
        assert_refused(start(command), 1, "cannot listen", str(server.port))


def test_one_port_for_two_things_is_refused(serve: tuple[str, ...]) -> None:
    """Exit status 2, before anything is opened."""
    assert_refused(start((*serve, "--port", "8123", "--metrics-port", "8123")), 2, "both 8123")


@pytest.mark.fault(66)
def test_the_port_for_everybody_does_not_describe_itself(channel: grpc.Channel) -> None:
    """UNIMPLEMENTED: reflection is for operators."""
    path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    with pytest.raises(grpc.RpcError) as raised:
        list(channel.stream_stream(path)(iter([b""]), timeout=60))
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED  # type: ignore[attr-defined]
