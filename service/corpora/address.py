"""The address of a Ray cluster, before Ray is asked for it, which would look for minutes for one that is not there."""

from __future__ import annotations

import socket

from service.corpora.errors import CorpusError

ANSWER_S = 5.0


def require_listening(address: str) -> None:
    """Raises CorpusError for what is not HOST:PORT, and where nothing listens."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise CorpusError(f"{address!r} is not HOST:PORT")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_S).close()
    except OSError as error:
        raise CorpusError(f"nothing listens at {address}: {error.strerror or error}") from error
