"""What a manifest says of each of a version's files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from service.model.part import Part

MAX_FILE_BYTES = 2**31 - 1
"""Of one file: what an ONNX graph that holds its own weights can have at most."""
MAX_WEIGHTS_BYTES = 2**36
"""Of the file of weights that lies beside the graphs."""

FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class FileRecord(Part):
    """A file's SHA-256 and its size in bytes."""

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(gt=0, le=MAX_WEIGHTS_BYTES)]


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
