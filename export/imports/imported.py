"""Everything that an import has found out before it writes anything."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

from export.imports.architecture import Architecture
from export.imports.decoding import Decoding
from export.imports.library import Library
from export.imports.packed import Packed
from export.imports.tokenization import Tokenization
from export.imports.weights import Weights


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

    def packed(self) -> Packed:
        """For processes that only hand it on."""
        return Packed(
            folder=self.folder,
            architecture_name=self.architecture_name,
            library=self.library,
            files=self.weights.files,
            num_elements=self.weights.num_elements,
            content=pickle.dumps(self),
        )


def unpacked(packed: Packed) -> Imported:
    """What was packed, in another process of the same import."""
    imported: Imported = pickle.loads(packed.content)  # noqa: S301  (this import packed it)  # nosec B301
    return imported
