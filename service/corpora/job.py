"""What every worker is given: all that the bytes of a shard depend on, and where they go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from service.corpora.formats.format import Fields
from service.options import Options


@dataclass(frozen=True)
class Model:
    """One version in a store. manifest_sha256 stands for all of its files."""

    store: Path
    name: str
    version: int
    manifest_sha256: str


@dataclass(frozen=True)
class Job:
    """format is one of the names of `service.corpora.formats`; a worker has num_cpus processors to itself."""

    model: Model
    options: Options
    format: str
    fields: Fields
    output: Path
    num_cpus: int = 1
