"""manifest.json: what a published version contains, and what its graphs take and give.

It knows the file's form; `service.model.bundle` proves the files against it.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    FiniteFloat,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    ValidationError,
    model_validator,
)

from service.model.errors import ManifestError
from service.model.file_record import MAX_FILE_BYTES, FileName, FileRecord
from service.model.foreign.roles import ForeignPair
from service.model.part import Part
from service.model.vocabulary_files import LanguageCode, LanguageToken, Side, TokenId, VocabularyFiles, check_inside

MANIFEST_FILE = "manifest.json"
SIGNATURE_FILE = "manifest.sig"
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"

StateKind = Literal["constant", "carried", "growing", "noise"]
Precision = Literal["fp32", "int8"]
MAX_VERSION = 2**63 - 1
MAX_LENGTH = 2**20
"""Tokens of a source or of a target."""
MAX_LENGTH_PENALTY = 10.0
MAX_CERTIFICATE_BYTES = 2**20
MAX_TEXT_FILE_BYTES = 2**26
"""Of a vocabulary, or of any other file but the graphs and their weights: it is held while the version serves."""
Length = Annotated[int, Field(gt=0, le=MAX_LENGTH)]

_AXES: dict[StateKind, list[list[str]]] = {
    "constant": [["batch"], ["batch", "source_length"]],
    "carried": [["batch"]],
    "growing": [["batch", "capacity"]],
    "noise": [["batch", "source_length"]],
}
"""The axes with a name that a state of each kind may have."""


class State(Part):
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


class Search(Part):
    """What holds for every search for the model's targets, as the library has it that the model comes from.

    beam_end: when a beam search ends. "patience": after beam_size * patience hypotheses (CTranslate2); "full": once
    beam_size hypotheses have ended; "improvement": once the best live one, by its score as it is now, is no better than
    the last of the best beam_size that have ended; "bound": the same by the best score that it could ever have. These
    three are transformers' early_stopping of true, false and "never". "places": once a hypothesis has ended at
    each place of the ranking; one that has ended keeps its place, and goes on beyond its end (JoeyNMT). "empty": once
    all hypotheses have ended, each of which leaves the beam narrower by one (Marian).
    length_norm: what a score's log-probability is divided by, to the power of the length penalty: the "length", or
    (5 + length) / 6 (Wu et al. 2016, equation 14: "gnmt").
    """

    beam_end: Literal["patience", "full", "improvement", "bound", "places", "empty"] = "patience"
    length_penalty: FiniteFloat = Field(1.0, ge=0.0, le=MAX_LENGTH_PENALTY, description="where a request sets none")
    length_norm: Literal["length", "gnmt"] = "length"
    min_length: NonNegativeInt = Field(0, description="tokens before the end of the sentence")
    no_repeat_ngram_size: NonNegativeInt = Field(
        0, description="no sequence of so many tokens comes twice; 0: no limit"
    )
    suppressed_ids: tuple[TokenId, ...] = Field((), description="tokens that no target gets")
    max_length_factor: FiniteFloat | None = Field(
        None,
        gt=0.0,
        le=MAX_LENGTH,
        description="most tokens of a target for each one of its source, where a request sets no max_length",
    )
    forced_end: bool = Field(False, description="a target of max_length tokens has the end of the sentence as its last")


class Manifest(Part):
    """One published version of a model."""

    format: Literal[1]
    name: Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
    version: Annotated[int, Field(gt=0, le=MAX_VERSION)]
    family: Literal["transformer", "recurrent", "foreign"]
    attention: str | None = Field(description="how the target attends to the source, for people; null: not at all")
    precision: Precision
    source_language: LanguageCode
    target_language: LanguageCode
    max_source_length: Length = Field(description="tokens, the end of the sentence included")
    max_target_length: Length = Field(description="tokens, the end of the sentence included")
    length_multiple: Length = Field(description="source axes and capacities are multiples of this")
    num_candidates: PositiveInt = Field(description="best tokens that a step returns for each row")
    vocabulary: VocabularyFiles
    search: Search = Search()
    encoder: FileName
    decoder_step: FileName
    weights: FileName | None = Field(
        None,
        description="what both graphs have their large weights in, where a graph cannot hold its own; none: they do",
    )
    certificate: FileName
    states: tuple[State, ...]
    foreign: ForeignPair | None = Field(None, description="what others' graphs take and give; none: they are ours")
    files: dict[FileName, FileRecord]

    @model_validator(mode="after")
    def _check(self) -> Self:
        vocabulary, foreign = self.vocabulary, self.foreign
        named = [self.encoder, self.decoder_step, self.certificate, *vocabulary.files]
        if missing := sorted({*named, *filter(None, [self.weights])} - self.files.keys()):
            raise ValueError(f"no hash for {', '.join(missing)}")
        alone = (self.encoder, self.decoder_step, self.certificate, *filter(None, [self.weights]))
        if twice := [name for name in alone if [*alone, *vocabulary.files].count(name) > 1]:
            raise ValueError(f"{twice[0]} is two things at once")
        if too_large := [n for n, file in self.files.items() if file.size > MAX_FILE_BYTES and n != self.weights]:
            raise ValueError(f"{too_large[0]} has more than {MAX_FILE_BYTES} bytes, and is not the file of weights")
        graphs = (self.encoder, self.decoder_step, self.weights)
        if long := [n for n, file in self.files.items() if file.size > MAX_TEXT_FILE_BYTES and n not in graphs]:
            raise ValueError(f"{long[0]} has more than {MAX_TEXT_FILE_BYTES} bytes, and is no graph")
        if self.files[self.certificate].size > MAX_CERTIFICATE_BYTES:
            raise ValueError(f"{self.certificate} has more than {MAX_CERTIFICATE_BYTES} bytes")
        if len({state.name for state in self.states}) != len(self.states):
            raise ValueError("two states have the same name")
        check_inside(self.search.suppressed_ids, vocabulary.target_size, "target")
        check_inside(foreign.never if foreign else (), vocabulary.target_size, "target")
        check_inside((foreign.pad_id,) if foreign else (), vocabulary.source_size, "source")
        if sum(map(len, self.source_frame)) >= self.max_source_length:
            raise ValueError("what stands around a source leaves no room for a text")
        if max(len(vocabulary.target_prefix), self.search.min_length) >= self.max_target_length:
            raise ValueError("what every target has leaves no room for a text")
        if (foreign is not None) != (self.family == "foreign"):
            raise ValueError("a foreign family and no other has foreign graphs")
        return self

    @property
    def source_frame(self) -> tuple[tuple[int | LanguageToken, ...], tuple[int | LanguageToken, ...]]:
        """The tokens before and after those of every source text."""
        if self.foreign is not None:
            return self.foreign.source_prefix, self.foreign.source_suffix
        suffix = self.vocabulary.source_suffix
        return self.vocabulary.source_prefix, (self.vocabulary.end_id,) if suffix is None else suffix

    @property
    def empty_source(self) -> tuple[int, ...]:
        """The source of an empty text in no language; padding, or the end of the sentence, where that has no token."""
        before, after = self.source_frame
        pad_id = self.vocabulary.end_id if self.foreign is None else self.foreign.pad_id
        return tuple(one for one in (*before, *after) if isinstance(one, int)) or (pad_id,)

    def tokenizer(self, side: Side) -> Literal["sentencepiece", "pieces", "tokenizers", "table"]:
        """The kind of the vocabulary of the source or of the target."""
        if self.foreign is None:
            return self.vocabulary.kind
        kind = self.foreign.source_tokenizer if side == "source" else self.foreign.target_tokenizer
        return "sentencepiece" if kind == "sentencepiece" else "table"

    @property
    def capacity(self) -> int:
        """Entries of a growing state: max_target_length rounded up to length_multiple."""
        return self.padded(self.max_target_length)

    def padded(self, length: int) -> int:
        """A length rounded up to length_multiple: padding to a multiple changes no result at all."""
        return -(-length // self.length_multiple) * self.length_multiple

    def longest_target(self, source_length: int) -> int:
        """Most target tokens of a source of so many, where a request sets no max_length."""
        factor = self.search.max_length_factor
        most = self.max_target_length
        return most if factor is None else min(most, math.ceil(factor * source_length))

    def states_of(self, *kinds: StateKind) -> tuple[State, ...]:
        return tuple(state for state in self.states if state.kind in kinds)


def parse_manifest(content: bytes, where: str) -> Manifest:
    """The manifest in a file's content; raises ManifestError."""
    try:
        return Manifest.model_validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ManifestError(f"{where}: {MANIFEST_FILE} is not valid at {place}: {first['msg']}") from error


def is_model_name(name: str) -> bool:
    """Whether a name may stand in a manifest and as a folder of the model store."""
    return re.fullmatch(NAME_PATTERN, name) is not None
