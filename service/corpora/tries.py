"""How often each shard was begun: one that ends its workers must not end them for ever."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.corpora.errors import CorpusError
from service.corpora.shards import Shard

TRIES_FOLDER = ".tries"
MAX_TRIES = 4


@contextmanager
def counted_try(output: Path, shard: Shard) -> Iterator[None]:
    """One try, which counts unless the block ends; raises CorpusError for one too many."""
    tries = output / TRIES_FOLDER / str(shard.number)
    tries.parent.mkdir(exist_ok=True)
    with tries.open("ab") as file:
        if file.tell() >= MAX_TRIES:
            last_line = shard.first_line + shard.extent.num_lines - 1
            raise CorpusError(
                f"{MAX_TRIES} workers were lost with lines {shard.first_line} to {last_line} of {shard.path}"
            )
        file.write(b".")
    yield
    tries.unlink(missing_ok=True)


def forget_tries(output: Path) -> None:
    """Of runs before."""
    shutil.rmtree(output / TRIES_FOLDER, ignore_errors=True)
