"""Everything that an import has found out before it writes anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from export.hf.architecture import Architecture
from export.hf.search import Decoding
from export.hf.vocabulary import Tokenization
from export.hf.weights import Weights


@dataclass(frozen=True)
class Imported:
    """A folder of another library, checked; its weights are read when they are needed. longest: tokens of a source, and
    of a target where its decoding sets no lower limit; library: the package that the model is of; library_version:
    where it is not that of this environment; library_folder: what the package is installed in, none: this environment;
    original: the module that runs it (see `export.hf.original`)."""

    folder: Path
    architecture_name: str
    architecture: Architecture
    weights: Weights
    decoding: Decoding
    tokenization: Tokenization
    longest: int
    library: str = "transformers"
    library_version: str | None = None
    library_folder: Path | None = None
    original: str = "export.hf.original"
