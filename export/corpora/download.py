"""Files from a web server, and onto the disk in one step. It knows no corpus."""

from __future__ import annotations

from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from export.errors import CorpusError

TIMEOUT_S = 60.0


def download(url: str) -> bytes:
    """What `url` names, in memory; raises CorpusError, also for an address that is not of the web."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise CorpusError(f"{url} is no http or https address")
    try:
        with urlopen(url, timeout=TIMEOUT_S) as response:  # noqa: S310  (the scheme is checked)  # nosec B310
            content: bytes = response.read()
    except URLError as error:
        raise CorpusError(f"{url} cannot be fetched: {error.reason}") from error
    except (OSError, HTTPException) as error:
        raise CorpusError(f"{url} cannot be fetched: {error}") from error
    return content


def write(path: Path, content: bytes) -> None:
    """Make a file in one step: whoever looks sees all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(content)
    temporary.replace(path)
