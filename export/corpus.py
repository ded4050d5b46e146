"""Fetches the public Multi30k corpus (Elliott et al. 2016 and 2017, Barrault et al. 2018) into one folder.

It knows the corpus' files and where they are published; it does not read sentences for training.
"""

from __future__ import annotations

import gzip
import zlib
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from export.errors import CorpusError
from export.evaluate import TOKENIZED_FOLDER, lowercase_and_tokenize
from export.training.data import read_lines

BASE_URL = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw"
SPLITS = {
    "train": ("en", "de", "fr", "cs"),
    "val": ("en", "de", "fr", "cs"),
    "test_2016_flickr": ("en", "de", "fr", "cs"),
    "test_2017_flickr": ("en", "de", "fr"),
}
TIMEOUT_S = 60.0


def fetch_corpus(folder: Path, *, base_url: str = BASE_URL) -> list[Path]:
    """Download every file that FOLDER lacks as SPLIT.LANGUAGE.gz and make the tokenized references of the tests;
    the files that are new. Raises CorpusError; what has arrived by then stays and is not fetched again.
    """
    if urlsplit(base_url).scheme not in ("http", "https"):
        raise CorpusError(f"{base_url} is no http or https address")
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for split, languages in SPLITS.items():
        for language in languages:
            path = folder / f"{split}.{language}.gz"
            if not path.exists():
                _write(path, _download(f"{base_url}/{path.name}"))
                made.append(path)
            tokenized = folder / TOKENIZED_FOLDER / f"{split}.{language}"
            if split.startswith("test") and not tokenized.exists():
                lines = lowercase_and_tokenize(read_lines(folder, split, language), language)
                _write(tokenized, "".join(f"{line}\n" for line in lines).encode("utf-8"))
                made.append(tokenized)
    return made


def _download(url: str) -> bytes:
    """A gzip file of UTF-8 lines, proved to be one."""
    try:
        with urlopen(url, timeout=TIMEOUT_S) as response:  # noqa: S310  (fetch_corpus checks the scheme)
            packed: bytes = response.read()
    except URLError as error:
        raise CorpusError(f"{url} cannot be fetched: {error.reason}") from error
    except (OSError, HTTPException) as error:
        raise CorpusError(f"{url} cannot be fetched: {error}") from error
    try:
        gzip.decompress(packed).decode("utf-8")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise CorpusError(f"{url} is no gzip file of UTF-8 text") from error
    return packed


def _write(path: Path, content: bytes) -> None:
    """Make a file in one step: whoever looks sees all of it or none."""
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(content)
    temporary.replace(path)
