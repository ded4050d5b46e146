"""manifest.json: what a published version contains, and what its graphs take and give.

It knows the file's form; `service.model.bundle` proves the files against it.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
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
TokenId = Annotated[int, Field(ge=0)]
Length = Annotated[int, Field(gt=0, le=MAX_LENGTH)]
LANGUAGE_CODE = r"^[A-Za-z0-9][A-Za-z0-9_@-]{0,31}$"
LanguageCode = Annotated[str, StringConstraints(pattern=LANGUAGE_CODE)]
"""Narrow enough that an error may name it."""


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


Side = Literal["source", "target"]
LanguageToken = Literal["source_language", "target_language"]
"""Stands for the token of the language that a request chooses."""


class Language(_Part):
    """A language that a request may choose, and the tokens that tell the model so, where it has any."""

    code: LanguageCode
    source_id: TokenId | None = None
    target_id: TokenId | None = None


class VocabularyFiles(_Part):
    """The files of a tokenizer and the ids of the special tokens; source and target may be the same file.

    kind: "sentencepiece" is a SentencePiece model whose ids are the model's; "pieces" one whose pieces have other ids,
    which source_pieces and target_pieces (JSON objects) tell; "tokenizers" the JSON of the library of that name;
    "table" a table of words or characters (`service.model.table_vocabulary`).
    """

    kind: Literal["sentencepiece", "pieces", "tokenizers", "table"] = "sentencepiece"
    source: FileName
    target: FileName
    source_pieces: FileName | None = None
    target_pieces: FileName | None = None
    source_size: PositiveInt
    target_size: PositiveInt
    begin_id: TokenId
    end_id: TokenId
    unknown_id: TokenId | None = Field(None, description="of a kind other than sentencepiece, which knows its own")
    control_ids: tuple[TokenId, ...] = Field((), description="of the kind pieces: tokens that stand for no text")
    lowercase: tuple[Side, ...] = Field((), description="of the kind pieces: whose texts are read in lower case")
    source_prefix: tuple[TokenId | LanguageToken, ...] = Field((), description="tokens before those of every source")
    source_suffix: tuple[TokenId | LanguageToken, ...] | None = Field(
        None, description="tokens after those of every source; none: the end of the sentence"
    )
    target_prefix: tuple[TokenId | LanguageToken, ...] = Field(
        (), description="tokens that every target begins with, before any that the model chooses"
    )
    languages: tuple[Language, ...] = Field((), description="to choose from; none: those of the manifest alone")
    languages_in_text: bool = Field(
        False, description="a source may name its target language itself, >>de<< before the text, and need not"
    )
    masks: tuple[Mask, ...] = Field(
        (), description="what placeholders are hidden by, in their order; none: they are text"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind == "pieces" and (self.source_pieces is None or self.target_pieces is None):
            raise ValueError("a vocabulary of pieces needs source_pieces and target_pieces")
        if self.kind != "sentencepiece" and self.unknown_id is None:
            raise ValueError(f"a vocabulary of the kind {self.kind} needs an unknown_id")
        if self.masks and self.kind != "sentencepiece":
            raise ValueError("masks need a vocabulary of the kind sentencepiece")
        tokens = (*self.source_prefix, *(self.source_suffix or ()), *self.target_prefix)
        if {"source_language", "target_language"}.intersection(map(str, tokens)) and not self.languages:
            raise ValueError("a token of a language needs languages")
        return self

    @property
    def shared_size(self) -> int:
        """Ids below it are tokens of the source and of the target."""
        return min(self.source_size, self.target_size)

    @property
    def files(self) -> tuple[str, ...]:
        """Their names, each once."""
        named = (self.source, self.target, self.source_pieces, self.target_pieces)
        return tuple(dict.fromkeys(name for name in named if name is not None))


class Search(_Part):
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
        description="most tokens of a target for each one of its source, where a request sets no max_length",
    )
    forced_end: bool = Field(False, description="a target of max_length tokens has the end of the sentence as its last")


class Manifest(_Part):
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
        named = [self.encoder, self.decoder_step, self.certificate, *self.vocabulary.files]
        if missing := sorted({*named, *filter(None, [self.weights])} - self.files.keys()):
            raise ValueError(f"no hash for {', '.join(missing)}")
        if self.weights in named:
            raise ValueError(f"{self.weights} is not of weights alone")
        if too_large := [n for n, file in self.files.items() if file.size > MAX_FILE_BYTES and n != self.weights]:
            raise ValueError(f"{too_large[0]} has more than {MAX_FILE_BYTES} bytes, and is not the file of weights")
        graphs = (self.encoder, self.decoder_step, self.weights)
        if long := [n for n, file in self.files.items() if file.size > MAX_TEXT_FILE_BYTES and n not in graphs]:
            raise ValueError(f"{long[0]} has more than {MAX_TEXT_FILE_BYTES} bytes, and is no graph")
        if self.certificate not in graphs and self.files[self.certificate].size > MAX_CERTIFICATE_BYTES:
            raise ValueError(f"{self.certificate} has more than {MAX_CERTIFICATE_BYTES} bytes")
        if len({state.name for state in self.states}) != len(self.states):
            raise ValueError("two states have the same name")
        self._check_tokens()
        if len({language.code for language in self.vocabulary.languages}) < len(self.vocabulary.languages):
            raise ValueError("two languages have the same code")
        masks = self.vocabulary.masks
        if any(len({getattr(mask, part) for mask in masks}) < len(masks) for part in Mask.model_fields):
            raise ValueError("two masks are the same")
        if (self.foreign is not None) != (self.family == "foreign"):
            raise ValueError("a foreign family and no other has foreign graphs")
        return self

    def _check_tokens(self) -> None:
        """Every token is in the vocabulary that it is of, and what stands around texts leaves room for them."""
        vocabulary, search, foreign = self.vocabulary, self.search, self.foreign
        before, after = self.source_frame
        sources = [*before, *after, *(mask.source_id for mask in vocabulary.masks)]
        sources += [language.source_id for language in vocabulary.languages if language.source_id is not None]
        targets = [vocabulary.begin_id, vocabulary.end_id, *vocabulary.target_prefix, *search.suppressed_ids]
        targets += [mask.target_id for mask in vocabulary.masks]
        targets += [language.target_id for language in vocabulary.languages if language.target_id is not None]
        either = [*vocabulary.control_ids, *([] if vocabulary.unknown_id is None else [vocabulary.unknown_id])]
        if foreign is not None:
            sources.append(foreign.pad_id)
            targets += foreign.never
        for ids, size, side in (
            (sources, vocabulary.source_size, "source"),
            (targets, vocabulary.target_size, "target"),
            (either, max(vocabulary.source_size, vocabulary.target_size), "larger"),
        ):
            if any(isinstance(token, int) and token >= size for token in ids):
                raise ValueError(f"a special token lies outside of the {side} vocabulary")
        if len(before) + len(after) >= self.max_source_length:
            raise ValueError("what stands around a source leaves no room for a text")
        if max(len(vocabulary.target_prefix), search.min_length) >= self.max_target_length:
            raise ValueError("what every target has leaves no room for a text")

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
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ManifestError(f"{where}: {MANIFEST_FILE} is not valid at {place}: {first['msg']}") from error


def is_model_name(name: str) -> bool:
    """Whether a name may stand in a manifest and as a folder of the model store."""
    return re.fullmatch(NAME_PATTERN, name) is not None
