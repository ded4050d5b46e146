"""Text to token ids and back by a table of characters or pieces, for models that know no SentencePiece.

The file is JSON that `stepstream-export import onnx` writes. It does not know models or requests.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, StringConstraints, ValidationError

from service.model.errors import VocabularyError
from service.model.vocabulary import NOTHING_MASKED

Token = Annotated[str, StringConstraints(min_length=1)]
Marker = Literal["word_start", "continuation", "joiner", "none"]
"""How pieces say where words begin: the first piece of a word has the mark in front ("▁"), all but the first have it in
front ("##"), all but the last have it behind ("@@"), or every piece is a word."""


class VocabularyTable(BaseModel):
    """tokens: by id; those of `controls` stand for no text. replace: texts in place of characters, before anything is
    looked up; normalization comes first, then lowercase. A mark of characters stands for a space."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    kind: Literal["characters", "pieces"]
    tokens: tuple[Token, ...] = Field(min_length=1)
    controls: tuple[NonNegativeInt, ...]
    unknown_id: NonNegativeInt
    marker: Marker = "none"
    mark: str = ""
    normalization: Literal["NFC", "NFD", "NFKC", "NFKD"] | None = None
    lowercase: bool = False
    replace: dict[Annotated[str, StringConstraints(min_length=1, max_length=1)], str] = Field(default_factory=dict)


class TableVocabulary:
    """One table: what `service.model.vocabulary.Vocabulary` offers. Special tokens in a text are text."""

    def __init__(self, path: Path, size: int, content: bytes | None = None) -> None:
        """The content of PATH where that was read before. Raises VocabularyError for a damaged file or one with another
        number of tokens than `size`."""
        try:
            table = VocabularyTable.model_validate_json(path.read_bytes() if content is None else content)
        except (OSError, ValidationError) as error:
            raise VocabularyError(f"{path} is no table of tokens") from error
        if len(table.tokens) != size:
            raise VocabularyError(f"{path} has {len(table.tokens)} tokens, the manifest says {size}")
        if max(table.unknown_id, *table.controls, 0) >= size:
            raise VocabularyError(f"{path} names a token that it has not")
        self._table = table
        self._controls = frozenset(table.controls)
        self._ids = {token: i for i, token in enumerate(table.tokens) if i not in self._controls}
        self._replace = str.maketrans(table.replace)
        self._longest = max(map(len, table.tokens))

    def encode(self, text: str) -> list[int]:
        """Token ids, without begin and end. Runs of white space count as one space, or none at either end."""
        words = self._normalized(text).split()
        if self._table.kind == "characters":
            spaced = (self._table.mark or " ").join(words)
            return [self._ids.get(character, self.unknown_id) for character in spaced]
        return [token_id for word in words for token_id in self._pieces(word)]

    def decode(self, ids: Sequence[int], masked: Mapping[int, str] = NOTHING_MASKED) -> str:
        """The text of token ids; control tokens have none, and masks the text that they stand for."""
        places = [place for place, token_id in enumerate(ids) if token_id in masked] if masked else []
        text = self._joined(ids[: places[0]] if places else ids)
        for place, following in pairwise([*places, len(ids)]):
            text += masked[ids[place]] + self._joined(ids[place + 1 : following])
        return text.strip()

    def piece(self, token_id: int) -> str:
        """A token as the table spells it."""
        return self._table.tokens[token_id]

    def id_of(self, piece: str) -> int | None:
        """The token of text that is spelled like this; None where there is none."""
        token_id = self._ids.get(piece)
        return None if token_id == self.unknown_id else token_id

    def is_control(self, token_id: int) -> bool:
        """Whether a token stands for no text, such as the end of the sentence."""
        return token_id in self._controls

    @property
    def word_starts(self) -> frozenset[int]:
        """None is known."""
        return frozenset()

    def spell(self, piece: str) -> list[int]:
        """A piece as the tokens of its characters."""
        return [self._ids.get(character, self.unknown_id) for character in piece]

    def normalized_bytes(self, text: str) -> int:
        """UTF-8 bytes of a text as it is normalized before it is cut."""
        return len(self._normalized(text).encode())

    @property
    def unknown_id(self) -> int:
        """The token for what the table has not."""
        return self._table.unknown_id

    def require(self, token_id: int, piece: str) -> None:
        """Raises VocabularyError where a token is not the piece that the manifest says."""
        if token_id >= len(self._table.tokens) or self.piece(token_id) != piece:
            raise VocabularyError(f"the vocabulary does not have {piece!r} as token {token_id}, as the manifest says")

    def _normalized(self, text: str) -> str:
        form = self._table.normalization
        normalized = unicodedata.normalize(form, text) if form else text
        return (normalized.lower() if self._table.lowercase else normalized).translate(self._replace)

    def _pieces(self, word: str) -> list[int]:
        """The longest piece that fits, again and again (Wu et al. 2016, section 4.1, as BERT's WordPiece does it);
        a word that pieces do not make up is unknown as a whole."""
        marker, mark = self._table.marker, self._table.mark
        if marker == "none":
            return [self._ids.get(word, self.unknown_id)]
        if marker == "word_start":
            word = mark + word
        ids: list[int] = []
        start = 0
        while start < len(word):
            for end in range(min(len(word), start + self._longest), start, -1):
                before = mark if marker == "continuation" and start else ""
                behind = mark if marker == "joiner" and end < len(word) else ""
                if (token_id := self._ids.get(before + word[start:end] + behind)) is not None:
                    ids.append(token_id)
                    start = end
                    break
            else:
                return [self.unknown_id]
        return ids

    def _joined(self, ids: Sequence[int]) -> str:
        tokens = [self._table.tokens[token_id] for token_id in ids if token_id not in self._controls]
        marker, mark = self._table.marker, self._table.mark
        if self._table.kind == "characters":
            return "".join(tokens).replace(mark or " ", " ")
        if marker == "word_start":
            return "".join(tokens).replace(mark, " ")
        if marker == "continuation":
            return "".join(token.removeprefix(mark) if token.startswith(mark) else f" {token}" for token in tokens)
        if marker == "joiner":
            return "".join(token.removesuffix(mark) if token.endswith(mark) else f"{token} " for token in tokens)
        return " ".join(tokens)
