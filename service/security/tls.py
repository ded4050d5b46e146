"""TLS of the server's ports, with client certificates if a CA for them is given; certificates are changed under running
streams. Any number of ports may share one `ServerTls`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from service.security.files import WatchedFiles


@dataclass(frozen=True)
class Certificates:
    """PEM files: the server's certificate with its chain, its key, and the CA of the clients, if they need one."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        return (self.certificate, self.key, *([self.client_ca] if self.client_ca is not None else []))

    def read(self) -> grpc.ServerCertificateConfiguration:
        """What the files hold; raises OSError, or ValueError where certificate and key are no pair."""
        chain, key = self.certificate.read_bytes(), self.key.read_bytes()
        authorities = None if self.client_ca is None else self.client_ca.read_bytes()
        try:
            leaf = x509.load_pem_x509_certificates(chain)[0]
        except ValueError as error:
            raise ValueError(f"{self.certificate} holds no PEM certificate") from error
        try:
            private = load_pem_private_key(key, password=None)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{self.key} holds no PEM key without a password") from error
        if private.public_key() != leaf.public_key():
            raise ValueError(f"{self.key} is not the key of {self.certificate}")
        if authorities is not None:
            try:
                x509.load_pem_x509_certificates(authorities)
            except ValueError as error:
                raise ValueError(f"{self.client_ca} holds no PEM certificate") from error
        return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=authorities)


class ServerTls:
    """The TLS of every port of a server. `start` and `stop` once each."""

    def __init__(self, certificates: Certificates) -> None:
        """Raises OSError or ValueError where the files cannot be used."""
        self._files = WatchedFiles(certificates.paths, certificates.read)
        self._asks_clients = certificates.client_ca is not None

    def start(self) -> None:
        """Begin to follow the files."""
        self._files.start()

    def stop(self) -> None:
        self._files.stop()

    def credentials(self) -> grpc.ServerCredentials:
        """What a port is opened with: every handshake takes the certificates of that moment."""
        return grpc.dynamic_ssl_server_credentials(
            self._files.value, lambda: self._files.value, require_client_authentication=self._asks_clients
        )


def add_port(server: grpc.aio.Server, address: str, tls: ServerTls | None) -> int:
    """Open a port, with TLS if there is any; its number. Raises OSError where it cannot be had."""
    try:
        if tls is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, tls.credentials())
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}") from error
