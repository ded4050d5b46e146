"""The public Multi30k corpus (Elliott et al. 2016 and 2017, Barrault et al. 2018): image captions in four languages.

It knows the corpus' files and where they are published; it does not read sentences for training.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from export.corpora.download import download, write
from export.errors import CorpusError
from export.evaluate import TOKENIZED_FOLDER
from export.metrics import lowercase_and_tokenize
from export.training.data import read_lines

BASE_URL = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw"
SPLITS = {
    "train": ("en", "de", "fr", "cs"),
    "val": ("en", "de", "fr", "cs"),
    "test_2016_flickr": ("en", "de", "fr", "cs"),
    "test_2017_flickr": ("en", "de", "fr"),
}


def fetch_multi30k(folder: Path, base_url: str | None = None) -> list[Path]:
    """Download every file that FOLDER lacks as SPLIT.LANGUAGE.gz and make the tokenized references of the tests;
    the files that are new. `base_url`: the folder that holds them, without a slash at its end.

    Raises CorpusError; what has arrived by then stays and is not fetched again.
    """
    made = []
    for split, languages in SPLITS.items():
        for language in languages:
            path = folder / f"{split}.{language}.gz"
            if not path.exists():
                write(path, _packed_text(f"{base_url or BASE_URL}/{path.name}"))
                made.append(path)
            tokenized = folder / TOKENIZED_FOLDER / f"{split}.{language}"
            if split.startswith("test") and not tokenized.exists():
                lines = lowercase_and_tokenize(read_lines(folder, split, language), language)
                write(tokenized, "".join(f"{line}\n" for line in lines).encode("utf-8"))
                made.append(tokenized)
    return made


def _packed_text(url: str) -> bytes:
    """A gzip file of UTF-8 lines, proved to be one."""
    packed = download(url)
    try:
        gzip.decompress(packed).decode("utf-8")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise CorpusError(f"{url} is no gzip file of UTF-8 text") from error
    return packed
