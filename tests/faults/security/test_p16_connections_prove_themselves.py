"""TLS: who is let in by certificate, and certificates that change while streams run."""

from __future__ import annotations

import socket
import ssl
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from service.cli import main
from service.client.client import Client
from service.client.credentials import Credentials, credentials_from
from service.client.errors import CredentialsError, ServerUnreachableError
from service.security.tls import Certificates, ServerTls, add_port
from tests.faults.security.answers import MODEL, REQUESTS, SENTENCE, SERVICE
from tests.faults.security.certificates import DAY, Authority, Pair, serial_of
from tests.faults.security.servers import Started, started

CHANGE_S = 60.0


@pytest.fixture(scope="module")
def ours() -> Authority:
    return Authority("ours")


@pytest.fixture(scope="module")
def theirs() -> Authority:
    return Authority("theirs")


@pytest.fixture(scope="module")
def client_pair(ours: Authority) -> Pair:
    return ours.sign("client")


@pytest.fixture
def folder(tmp_path: Path, ours: Authority) -> Path:
    ours.sign("server").save(tmp_path, "server")
    (tmp_path / "ca.crt").write_bytes(ours.certificate)
    return tmp_path


def flags(folder: Path) -> tuple[str, ...]:
    pair = ("--tls-certificate", str(folder / "server.crt"), "--tls-key", str(folder / "server.key"))
    return (*pair, "--tls-client-ca", str(folder / "ca.crt"))


@pytest.fixture(scope="module")
def mutual(serve: tuple[str, ...], ours: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """A server that asks clients for a certificate of ours."""
    folder = tmp_path_factory.mktemp("tls")
    ours.sign("server").save(folder, "server")
    (folder / "ca.crt").write_bytes(ours.certificate)
    with started((*serve, *flags(folder)), folder / "log") as server:
        yield server


def knows(address: str, credentials: Credentials) -> str:
    """What a client with credentials gets from the server."""
    with Client(address, credentials=credentials, connect_timeout_s=5.0) as client:
        return client.get_model(MODEL, timeout_s=120.0).name


def assert_no_connection(address: str, credentials: Credentials) -> None:
    with pytest.raises(ServerUnreachableError):
        knows(address, credentials)


@pytest.mark.fault(23)
def test_a_client_with_a_certificate_of_ours_is_let_in(mutual: Started, ours: Authority, client_pair: Pair) -> None:
    """OK."""
    credentials = Credentials(tls=True, ca=ours.certificate, certificate=client_pair.certificate, key=client_pair.key)
    assert knows(mutual.address, credentials) == MODEL


@pytest.mark.fault(23)
@pytest.mark.parametrize("kind", ["none", "other authority", "expired", "not yet valid"])
def test_a_client_without_a_valid_certificate_of_ours_has_no_connection(
    mutual: Started, ours: Authority, theirs: Authority, kind: str
) -> None:
    """UNAVAILABLE; the server serves others on."""
    pair = {
        "none": None,
        "other authority": theirs.sign("client"),
        "expired": ours.sign("client", begins=-3 * DAY, ends=-2 * DAY),
        "not yet valid": ours.sign("client", begins=2 * DAY, ends=3 * DAY),
    }[kind]
    certificate, key = (None, None) if pair is None else (pair.certificate, pair.key)
    assert_no_connection(mutual.address, Credentials(tls=True, ca=ours.certificate, certificate=certificate, key=key))
    good = ours.sign("client")
    assert knows(mutual.address, Credentials(tls=True, ca=ours.certificate, certificate=good.certificate, key=good.key))


@pytest.mark.fault(23)
def test_a_plain_connection_to_a_tls_port_comes_to_nothing(mutual: Started) -> None:
    """UNAVAILABLE."""
    assert_no_connection(mutual.address, Credentials())


@pytest.mark.fault(23)
def test_a_server_of_another_authority_is_not_believed(mutual: Started, theirs: Authority, client_pair: Pair) -> None:
    """UNAVAILABLE at the client."""
    assert_no_connection(
        mutual.address,
        Credentials(tls=True, ca=theirs.certificate, certificate=client_pair.certificate, key=client_pair.key),
    )


@pytest.mark.fault(23)
@pytest.mark.parametrize("kind", ["expired", "not yet valid"])
def test_a_server_whose_certificate_is_not_valid_now_is_not_believed(
    serve: tuple[str, ...], ours: Authority, folder: Path, kind: str
) -> None:
    """UNAVAILABLE at the client."""
    begins, ends = {"expired": (-3, -2), "not yet valid": (2, 3)}[kind]
    ours.sign("server", begins=begins * DAY, ends=ends * DAY).save(folder, "server")
    with started((*serve, *flags(folder)[:4]), folder / "log") as server:
        assert_no_connection(server.address, Credentials(tls=True, ca=ours.certificate))


def handshake(port: int, *, versions: tuple[ssl.TLSVersion, ssl.TLSVersion], protocols: list[str]) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = versions
    if protocols:
        context.set_alpn_protocols(protocols)
    plain = socket.create_connection(("127.0.0.1", port), timeout=30)
    return context.wrap_socket(plain)


@pytest.mark.fault(23)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1], ids=["1.0", "1.1"])
def test_old_versions_of_tls_are_refused(serve: tuple[str, ...], folder: Path, version: ssl.TLSVersion) -> None:
    """The handshake fails, where one of TLS 1.2 and one of 1.3 do not."""
    with started((*serve, *flags(folder)[:4]), folder / "log") as server:
        for good in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with handshake(server.port, versions=(good, good), protocols=["h2"]) as secure:
                assert secure.selected_alpn_protocol() == "h2"
        with pytest.raises(OSError):  # noqa: PT011
            handshake(server.port, versions=(version, version), protocols=["h2"])


def served_serial(port: int) -> int:
    """Of the certificate that a new connection is shown."""
    latest = ssl.TLSVersion.TLSv1_3
    with handshake(port, versions=(latest, latest), protocols=["h2"]) as secure:
        shown = secure.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + CHANGE_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.fault(23)
def test_certificates_change_under_a_running_stream(serve: tuple[str, ...], ours: Authority, folder: Path) -> None:
    """New connections get the new certificate, the stream goes on; a pair that does not fit is logged and not taken."""
    trust = grpc.ssl_channel_credentials(ours.certificate)
    with (
        started((*serve, *flags(folder)[:4]), folder / "log") as server,
        grpc.secure_channel(server.address, trust) as channel,
    ):
        edits = _Edits()
        call = channel.stream_stream(f"{SERVICE}TranslateInteractive")(edits, timeout=300)
        assert next(call)
        assert served_serial(server.port) == serial_of((folder / "server.crt").read_bytes())

        new = ours.sign("server")
        new.save(folder, "server")
        wait_until(lambda: served_serial(server.port) == serial_of(new.certificate))
        assert knows(server.address, Credentials(tls=True, ca=ours.certificate)) == MODEL

        (folder / "server.key").write_bytes(ours.sign("other").key)
        wait_until(lambda: any(record["event"] == "changed files are not used" for record in server.records()))
        (folder / "server.crt").write_bytes(b"no certificate")
        wait_until(lambda: sum(one["event"] == "changed files are not used" for one in server.records()) > 1)
        assert served_serial(server.port) == serial_of(new.certificate)
        assert knows(server.address, Credentials(tls=True, ca=ours.certificate)) == MODEL

        edits.end()
        assert list(call)
        assert call.code() is grpc.StatusCode.OK


class _Edits:
    """The requests of an interactive translation that is held open."""

    def __init__(self) -> None:
        from queue import SimpleQueue

        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        self._queue.put(REQUESTS["TranslateInteractive"].SerializeToString())

    def end(self) -> None:
        self._queue.put(None)

    def __iter__(self) -> _Edits:
        return self

    def __next__(self) -> bytes:
        message = self._queue.get()
        if message is None:
            raise StopIteration
        return message


@pytest.mark.fault(23)
async def test_ports_share_one_tls(ours: Authority, client_pair: Pair, folder: Path) -> None:
    """Every port of a server asks for the same certificates."""
    tls = ServerTls(Certificates(folder / "server.crt", folder / "server.key", folder / "ca.crt"))
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    ports = [add_port(server, "127.0.0.1:0", tls) for _ in range(2)]
    tls.start()
    await server.start()
    try:
        for port in ports:
            with_ours = grpc.ssl_channel_credentials(ours.certificate, client_pair.key, client_pair.certificate)
            without = grpc.ssl_channel_credentials(ours.certificate)
            for credentials, code in ((with_ours, grpc.StatusCode.OK), (without, grpc.StatusCode.UNAVAILABLE)):
                async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
                    call = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
                    assert await call.code() is code
    finally:
        await server.stop(0)
        tls.stop()


@pytest.mark.parametrize("broken", ["no certificate", "no key", "other key", "no authority", "missing"])
def test_a_server_does_not_start_with_files_that_do_not_fit(
    ours: Authority, folder: Path, broken: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, content = {
        "no certificate": ("server.crt", b"nothing"),
        "no key": ("server.key", b"nothing"),
        "other key": ("server.key", ours.sign("other").key),
        "no authority": ("ca.crt", b"nothing"),
        "missing": ("server.crt", None),
    }[broken]
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    assert main(["serve", "--port", "0", "--metrics-port", "0", *flags(folder)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert name in said


def test_a_command_takes_its_credentials_from_the_environment(
    mutual: Started,
    client_pair: Pair,
    ours: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["translate", "--address", mutual.address, "--model", MODEL, SENTENCE]
    certificate, key = client_pair.save(tmp_path, "client")
    (tmp_path / "ca.crt").write_bytes(ours.certificate)
    for name, path in (("CA", tmp_path / "ca.crt"), ("CERTIFICATE", certificate), ("KEY", key)):
        monkeypatch.setenv(f"STEPSTREAM_CLIENT_{name}", str(path))
    assert main(arguments) == 0
    assert "Mann" in capsys.readouterr().out


@pytest.mark.parametrize(
    "environment",
    [
        {"STEPSTREAM_CLIENT_TOKEN_FILE": "{file}"},
        {"STEPSTREAM_CLIENT_CA": "system", "STEPSTREAM_CLIENT_CERTIFICATE": "{file}"},
        {"STEPSTREAM_CLIENT_CA": "{file}.missing"},
    ],
    ids=["a token over a plain connection", "half a pair", "a missing file"],
)
def test_credentials_that_do_not_go_together_are_refused(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    named = {name: value.format(file=tmp_path / "file") for name, value in environment.items()}
    with pytest.raises(CredentialsError):
        credentials_from(named)


def test_a_certificate_is_read_as_pem_alone(folder: Path) -> None:
    pem = x509.load_pem_x509_certificate((folder / "server.crt").read_bytes())
    (folder / "server.crt").write_bytes(pem.public_bytes(Encoding.DER))
    with pytest.raises(ValueError, match="holds no PEM certificate"):
        Certificates(folder / "server.crt", folder / "server.key").read()
