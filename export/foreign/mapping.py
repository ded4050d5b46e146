"""MAPPING.toml: what the tensors of a foreign encoder/decoder pair are for, and how its texts become tokens.

It knows the file's form; `export.foreign.resolve` holds it against the graphs.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, StringConstraints, model_validator
from pydantic import ValidationError as PydanticError

from export.errors import ForeignError
from service.model.foreign.roles import TensorName, Tokenizer
from service.model.manifest import NAME_PATTERN
from service.model.vocabulary_files import LanguageCode

Text = Annotated[str, StringConstraints(min_length=1)]
TokenOrId = NonNegativeInt | Text
"""A token as the vocabulary spells it, or its id."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MaskRole(_Part):
    """input: its name. marks: what true, or 1, stands for."""

    input: TensorName
    marks: Literal["tokens", "padding"] = "tokens"


class EncoderRoles(_Part):
    """Names of inputs. time_major: token ids are (length, batch)."""

    file: Text
    source_ids: TensorName
    source_mask: MaskRole | None = None
    source_lengths: TensorName | None = None
    time_major: bool = False


class DecoderRoles(_Part):
    """Names of inputs, and of the outputs log_probabilities or logits, and attention."""

    file: Text
    last_token: TensorName | None = None
    prefix: TensorName | None = None
    prefix_mask: MaskRole | None = None
    prefix_lengths: TensorName | None = None
    positions: TensorName | None = None
    source_mask: MaskRole | None = None
    source_lengths: TensorName | None = None
    log_probabilities: TensorName | None = None
    logits: TensorName | None = None
    attention: TensorName | None = None
    time_major: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        for one, other in (("last_token", "prefix"), ("log_probabilities", "logits")):
            if (getattr(self, one) is None) == (getattr(self, other) is None):
                raise ValueError(f"there must be either {one} or {other}")
        if self.prefix is None and (self.prefix_mask or self.prefix_lengths):
            raise ValueError("prefix_mask and prefix_lengths belong to a prefix")
        return self


class StateRole(_Part):
    """A decoder input that is neither tokens, lengths nor masks. from_encoder: the encoder's output that it is, or
    begins as; without one it begins with zeros, or without entries. becomes: the decoder's output that it is in the
    next step; without one it stays."""

    input: TensorName
    from_encoder: TensorName | None = None
    becomes: TensorName | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.from_encoder is None and self.becomes is None:
            raise ValueError(f"{self.input} needs from_encoder or becomes")
        return self


class VocabularyRoles(_Part):
    """A vocabulary file. characters, pieces: JSON (a list of tokens, an object with one under "tokens", or one from
    token to id) or a token a line; sentencepiece: a model. controls: tokens besides the special ones that stand for no
    text; of characters, every token of more than one character does so.

    word_start, continuation and joiner: the mark by which pieces tell where words begin ("▁" before the first,
    "##" before all others, "@@" behind all but the last); without one, every piece is a word.
    normalization and replace: what becomes of a text first; replace is from a character, or a range as in "a-z", to a
    text, which may be empty.
    """

    tokenizer: Tokenizer
    vocabulary: Text
    unknown: TokenOrId | None = None
    pad: TokenOrId | None = None
    controls: tuple[TokenOrId, ...] = ()
    word_start: Text | None = None
    continuation: Text | None = None
    joiner: Text | None = None
    normalization: Literal["NFC", "NFD", "NFKC", "NFKD"] | None = None
    replace: dict[Text, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        marks = [mark for mark in (self.word_start, self.continuation, self.joiner) if mark is not None]
        if len(marks) > 1 or (marks and self.tokenizer != "pieces"):
            raise ValueError("word_start, continuation and joiner are for pieces, and there can be one of them")
        if self.tokenizer == "sentencepiece":
            if self.normalization or self.replace or self.unknown is not None:
                raise ValueError("a SentencePiece model has its own normalization and unknown token")
        elif self.unknown is None:
            raise ValueError("unknown: which token stands for what the vocabulary has not?")
        return self

    def special(self) -> dict[str, tuple[TokenOrId | None, ...]]:
        """The tokens that stand for no text, by their roles."""
        return {"unknown": (self.unknown,), "pad": (self.pad,), "controls": self.controls}


class SourceRoles(VocabularyRoles):
    """before and after: tokens around those of every text, such as languages and the end of the sentence."""

    before: tuple[TokenOrId, ...] = ()
    after: tuple[TokenOrId, ...] = ()

    def special(self) -> dict[str, tuple[TokenOrId | None, ...]]:
        return super().special() | {"before": self.before, "after": self.after}


class TargetRoles(VocabularyRoles):
    """begin: what the decoder is told first; end: what it ends with; never: tokens that are never made; min_length:
    tokens of the shortest target, without the end."""

    begin: TokenOrId
    end: TokenOrId
    never: tuple[TokenOrId, ...] = ()
    min_length: NonNegativeInt = 0

    def special(self) -> dict[str, tuple[TokenOrId | None, ...]]:
        return super().special() | {"begin": (self.begin,), "end": (self.end,), "never": self.never}


class Mapping(_Part):
    """A whole mapping. share: whether sentences may share runs where that is found to change nothing. examples: texts
    of the source, which the certificate is measured on."""

    name: Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
    source_language: LanguageCode
    target_language: LanguageCode
    max_source_length: PositiveInt = 256
    max_target_length: PositiveInt = 256
    ended_hypotheses: Literal["leave", "stay"] = "leave"
    share: bool = True
    examples: tuple[Text, ...] = Field(min_length=1)
    encoder: EncoderRoles
    decoder: DecoderRoles
    states: tuple[StateRole, ...] = Field(min_length=1)
    source: SourceRoles
    target: TargetRoles


def read_mapping(path: Path) -> Mapping:
    """Raises ForeignError for what is no mapping, which says where."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ForeignError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ForeignError(f"{path} is no TOML: {error}") from error
    try:
        return Mapping.model_validate(content)
    except PydanticError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ForeignError(f"{path}: {where}: {first['msg']}") from error
