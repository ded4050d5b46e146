"""A version's tokenizer: its files, special tokens and languages, a part of manifest.json. It reads no file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, StringConstraints, model_validator

from service.model.file_record import FileName
from service.model.part import Part

TokenId = Annotated[int, Field(ge=0)]
LANGUAGE_CODE = r"^[A-Za-z0-9][A-Za-z0-9_@-]{0,31}$"
LanguageCode = Annotated[str, StringConstraints(pattern=LANGUAGE_CODE)]
"""Narrow enough that an error may name it."""


class Mask(Part):
    """A piece of both vocabularies that stands for a placeholder of the source, such as %s."""

    piece: Annotated[str, StringConstraints(min_length=1)]
    source_id: TokenId
    target_id: TokenId


Side = Literal["source", "target"]
LanguageToken = Literal["source_language", "target_language"]
"""Stands for the token of the language that a request chooses."""


class Language(Part):
    """A language that a request may choose, and the tokens that tell the model so, where it has any."""

    code: LanguageCode
    source_id: TokenId | None = None
    target_id: TokenId | None = None


class VocabularyFiles(Part):
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
        if len({language.code for language in self.languages}) < len(self.languages):
            raise ValueError("two languages have the same code")
        if any(len({getattr(mask, part) for mask in self.masks}) < len(self.masks) for part in Mask.model_fields):
            raise ValueError("two masks are the same")
        self._check_tokens()
        return self

    def _check_tokens(self) -> None:
        sources = [*self.source_prefix, *(self.source_suffix or ())]
        sources += [language.source_id for language in self.languages if language.source_id is not None]
        targets = [self.begin_id, self.end_id, *self.target_prefix]
        targets += [language.target_id for language in self.languages if language.target_id is not None]
        either = [*self.control_ids, *([] if self.unknown_id is None else [self.unknown_id])]
        check_inside([*sources, *(mask.source_id for mask in self.masks)], self.source_size, "source")
        check_inside([*targets, *(mask.target_id for mask in self.masks)], self.target_size, "target")
        check_inside(either, max(self.source_size, self.target_size), "larger")

    @property
    def shared_size(self) -> int:
        """Ids below it are tokens of the source and of the target."""
        return min(self.source_size, self.target_size)

    @property
    def files(self) -> tuple[str, ...]:
        """Their names, each once."""
        named = (self.source, self.target, self.source_pieces, self.target_pieces)
        return tuple(dict.fromkeys(name for name in named if name is not None))


def check_inside(tokens: Iterable[int | str], size: int, side: str) -> None:
    """Raises ValueError where an id is of no token of a vocabulary of so many."""
    if any(isinstance(token, int) and token >= size for token in tokens):
        raise ValueError(f"a special token lies outside of the {side} vocabulary")
