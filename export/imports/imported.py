"""Everything that an import has found out before it writes anything."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distributions
from pathlib import Path
from typing import Any

from export.imports.architecture import Architecture
from export.imports.decoding import Decoding
from export.imports.tokenization import Tokenization
from export.imports.weights import Weights


@dataclass(frozen=True)
class Library:
    """The library that a model comes from, with whose translations ours are compared.

    distribution: the name that it is installed by. module: what `python -m` runs to translate with it, by
    `export.imports.original`; asked: what it is told besides. folder: what it is installed in; none: this environment.
    """

    distribution: str
    module: str
    asked: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def version(self) -> str:
        """Such as "transformers 5.24.0"; raises PackageNotFoundError."""
        places = sys.path if self.folder is None else [str(self.folder)]
        for found in distributions(name=self.distribution, path=places):
            return f"{self.distribution} {found.version}"
        raise PackageNotFoundError(self.distribution)


@dataclass(frozen=True)
class Imported:
    """A model that others made, checked; its weights are read when they are needed. longest: tokens of a source, and of
    a target where its decoding sets no lower limit."""

    folder: Path
    architecture_name: str
    architecture: Architecture
    weights: Weights
    decoding: Decoding
    tokenization: Tokenization
    longest: int
    library: Library
