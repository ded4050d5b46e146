"""Who a client says that it is, and whom it believes: TLS, a certificate of its own, a token, over TLS alone.

The environment names the files, for the commands and for whoever gives no credentials:

STEPSTREAM_CLIENT_CA            PEM file of who signs the server's certificate; "system" for the usual authorities
STEPSTREAM_CLIENT_CERTIFICATE   PEM file of the client's certificate, where the server asks for one
STEPSTREAM_CLIENT_KEY           PEM file of its key
STEPSTREAM_CLIENT_TOKEN_FILE    file that holds the token
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from service.client.errors import CredentialsError

PREFIX = "STEPSTREAM_CLIENT_"
SYSTEM_CA = "system"


@dataclass(frozen=True)
class Credentials:
    """PEM texts and the token; ca None with `tls` believes the authorities that gRPC knows. Raises CredentialsError
    where they do not go together."""

    tls: bool = False
    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise CredentialsError("a client's certificate and its key go together")
        if not self.tls and (self.ca or self.certificate or self.token):
            raise CredentialsError("certificates and tokens need TLS: say whom to believe")

    def for_channel(self) -> grpc.ChannelCredentials | None:
        """What a channel is opened with; None for a plain connection."""
        if not self.tls:
            return None
        connection = grpc.ssl_channel_credentials(self.ca, self.key, self.certificate)
        if self.token is None:
            return connection
        return grpc.composite_channel_credentials(connection, grpc.access_token_call_credentials(self.token))


def credentials_from(environment: Mapping[str, str] = os.environ) -> Credentials:
    """What the environment names; a plain connection where it names nothing. Raises CredentialsError."""
    authorities = environment.get(f"{PREFIX}CA", "")
    token = _read(environment, "TOKEN_FILE")
    return Credentials(
        tls=bool(authorities),
        ca=None if authorities in ("", SYSTEM_CA) else _read(environment, "CA"),
        certificate=_read(environment, "CERTIFICATE"),
        key=_read(environment, "KEY"),
        token=None if token is None else token.decode("utf-8", "replace").strip(),
    )


def _read(environment: Mapping[str, str], name: str) -> bytes | None:
    path = environment.get(f"{PREFIX}{name}", "")
    try:
        return Path(path).read_bytes() if path else None
    except OSError as error:
        raise CredentialsError(f"{PREFIX}{name}: {path}: {error.strerror}") from error
