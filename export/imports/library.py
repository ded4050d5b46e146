"""The library that a model comes from."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distributions
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Library:
    """With whose translations ours are compared.

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
