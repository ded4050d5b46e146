"""manifest.json: what a published version contains, and what its graphs take and give.

It knows the file's form; `service.model.bundle` proves the files against it.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, StringConstraints, ValidationError, model_validator

from service.model.errors import ManifestError
from service.model.foreign.roles import ForeignPair

MANIFEST_FILE = "manifest.json"
SIGNATURE_FILE = "manifest.sig"
MAX_FILE_BYTES = 2**31 - 1
"""Of one file: what an ONNX graph that holds its own weights can have at most."""
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"

StateKind = Literal["constant", "carried", "growing", "noise"]
Precision = Literal["fp32", "int8"]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
TokenId = Annotated[int, Field(ge=0)]


_AXES: dict[StateKind, list[list[str]]] = {
    "constant": [["batch"], ["batch", "source_length"]],
    "carried": [["batch"]],
    "growing": [["batch", "capacity"]],
    "noise": [["batch", "source_length"]],
}
"""The axes with a name that a state of each kind may have."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class State(_Part):
    """One decoder state. axes: "batch" first; "source_length" and "capacity" vary, whole numbers do not.

    kind: constant states are written once by the encoder; carried ones are replaced by every step; growing ones
    gain one entry along "capacity" at each row's position; noise is given anew before every step, zeros or standard
    Gumbel noise.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
    kind: StateKind
    dtype: Literal["float32"]
    axes: tuple[str | PositiveInt, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        named = [axis for axis in self.axes if isinstance(axis, str)]
        if not self.axes or self.axes[0] != "batch" or named not in _AXES[self.kind]:
            raise ValueError(f"a {self.kind} state cannot have the axes {list(self.axes)}")
        return self

    def shape(self, *, batch: int, source_length: int, capacity: int) -> tuple[int, ...]:
        """The axes as numbers."""
        sizes = {"batch": batch, "source_length": source_length, "capacity": capacity}
        return tuple(sizes[axis] if isinstance(axis, str) else axis for axis in self.axes)


class Mask(_Part):
    """A piece of both vocabularies that stands for a placeholder of the source, such as %s."""

    piece: Annotated[str, StringConstraints(min_length=1)]
    source_id: TokenId
    target_id: TokenId


class VocabularyFiles(_Part):
    """SentencePiece files and the ids of the special tokens; source and target may be the same file."""

    source: FileName
    target: FileName
    source_size: PositiveInt
    target_size: PositiveInt
    begin_id: TokenId
    end_id: TokenId
    masks: tuple[Mask, ...] = Field(
        (), description="what placeholders are hidden by, in their order; none: they are text"
    )


class FileRecord(_Part):
    """A file's SHA-256 and its size in bytes."""

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(gt=0, le=MAX_FILE_BYTES)]


class Manifest(_Part):
    """One published version of a model."""

    format: Literal[1]
    name: Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
    version: PositiveInt
    family: Literal["transformer", "recurrent", "foreign"]
    attention: str | None = Field(description="how the target attends to the source, for people; null: not at all")
    precision: Precision
    source_language: str
    target_language: str
    max_source_length: PositiveInt = Field(description="tokens, the end of the sentence included")
    max_target_length: PositiveInt = Field(description="tokens, the end of the sentence included")
    length_multiple: PositiveInt = Field(description="source axes and capacities are multiples of this")
    num_candidates: PositiveInt = Field(description="best tokens that a step returns for each row")
    vocabulary: VocabularyFiles
    encoder: FileName
    decoder_step: FileName
    certificate: FileName
    states: tuple[State, ...]
    foreign: ForeignPair | None = Field(None, description="what others' graphs take and give; none: they are ours")
    files: dict[FileName, FileRecord]

    @model_validator(mode="after")
    def _check(self) -> Self:
        named = {self.encoder, self.decoder_step, self.certificate, self.vocabulary.source, self.vocabulary.target}
        if missing := sorted(named - self.files.keys()):
            raise ValueError(f"no hash for {', '.join(missing)}")
        if len({state.name for state in self.states}) != len(self.states):
            raise ValueError("two states have the same name")
        if max(self.vocabulary.begin_id, self.vocabulary.end_id) >= self.vocabulary.target_size:
            raise ValueError("a special token lies outside of the target vocabulary")
        masks = self.vocabulary.masks
        if any(len({getattr(mask, part) for mask in masks}) < len(masks) for part in Mask.model_fields):
            raise ValueError("two masks are the same")
        if (self.foreign is not None) != (self.family == "foreign"):
            raise ValueError("a foreign family and no other has foreign graphs")
        return self

    @property
    def source_frame(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The token ids before and after those of every source text."""
        if self.foreign is None:
            return (), (self.vocabulary.end_id,)
        return self.foreign.source_prefix, self.foreign.source_suffix

    @property
    def empty_source(self) -> tuple[int, ...]:
        """The source of an empty text; padding where that has no token."""
        before, after = self.source_frame
        return (*before, *after) or (0 if self.foreign is None else self.foreign.pad_id,)

    @property
    def capacity(self) -> int:
        """Entries of a growing state: max_target_length rounded up to length_multiple."""
        return self.padded(self.max_target_length)

    def padded(self, length: int) -> int:
        """A length rounded up to length_multiple: padding to a multiple changes no result at all."""
        return -(-length // self.length_multiple) * self.length_multiple

    def states_of(self, *kinds: StateKind) -> tuple[State, ...]:
        return tuple(state for state in self.states if state.kind in kinds)


def parse_manifest(content: bytes, where: str) -> Manifest:
    """The manifest in a file's content; raises ManifestError."""
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ManifestError(f"{where}: {MANIFEST_FILE} is not valid at {place}: {first['msg']}") from error


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_model_name(name: str) -> bool:
    """Whether a name may stand in a manifest and as a folder of the model store."""
    return re.fullmatch(NAME_PATTERN, name) is not None
