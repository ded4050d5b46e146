"""The security of one server, as its settings want it: who may call, and the TLS of its ports."""

from __future__ import annotations

from functools import partial

from service.security.access import Access
from service.security.files import WatchedFiles
from service.security.tls import Certificates, ServerTls
from service.security.tokens import Tokens, read_tokens
from service.settings import Settings


class ConfigurationError(Exception):
    """A file that the settings name cannot be used; the message is one line."""


class Security:
    """`access` and `tls`, which follow their files from `start` to `stop`; tls is None where the ports are plain."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigurationError where a file cannot be used."""
        try:
            self._open(settings)
        except OSError as error:
            raise ConfigurationError(f"{error.filename}: {error.strerror}") from error
        except ValueError as error:
            raise ConfigurationError(str(error)) from error

    def _open(self, settings: Settings) -> None:
        self.tls: ServerTls | None = None
        if settings.tls_certificate is not None and settings.tls_key is not None:
            self.tls = ServerTls(Certificates(settings.tls_certificate, settings.tls_key, settings.tls_client_ca))
        self._tokens: WatchedFiles[Tokens] | None = None
        if settings.tokens_file is not None:
            self._tokens = WatchedFiles((settings.tokens_file,), partial(read_tokens, settings.tokens_file))
        self.access = Access(self._tokens)

    def start(self) -> None:
        for watched in (self.tls, self._tokens):
            if watched is not None:
                watched.start()

    def stop(self) -> None:
        for watched in (self.tls, self._tokens):
            if watched is not None:
                watched.stop()
