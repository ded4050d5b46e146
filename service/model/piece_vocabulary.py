"""Text to token ids and back, with a SentencePiece model whose pieces have other ids: Marian's and M2M100's."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence

import sentencepiece

from service.model.errors import VocabularyError
from service.model.vocabulary import NOTHING_MASKED

LANGUAGE = re.compile(r">>[^<>\s]{1,32}<<")
"""What a text of a Marian model for many languages may begin with (Tiedemann and Thottingal 2020)."""


class PieceVocabulary:
    """Pieces by one SentencePiece model, ids by a JSON object of pieces. Special tokens in a text are text."""

    def __init__(
        self,
        model: bytes,
        pieces: bytes,
        size: int,
        *,
        unknown_id: int,
        control_ids: Collection[int],
        languages_in_text: bool = False,
        lowercase: bool = False,
        where: str = "the vocabulary",
    ) -> None:
        """size: ids are below it. Raises VocabularyError for damaged contents."""
        try:
            self._pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
            ids: dict[str, int] = json.loads(pieces)
            self._spelled = {token_id: piece for piece, token_id in ids.items()}
            fits = all(isinstance(token_id, int) and 0 <= token_id < size for token_id in self._spelled)
        except (RuntimeError, ValueError, AttributeError, TypeError) as error:
            raise VocabularyError(f"{where} is no SentencePiece model with a JSON object of pieces") from error
        if not fits or len(self._spelled) != len(ids):
            raise VocabularyError(f"{where} has a piece that is none of {size} tokens, or two for one")
        self._ids = ids
        self._size = size
        self._unknown_id = unknown_id
        self._controls = frozenset(control_ids)
        self._languages_in_text = languages_in_text
        self._lowercase = lowercase

    def encode(self, text: str) -> list[int]:
        """Token ids, without those around the text."""
        named: list[str] = []
        if self._languages_in_text and (match := LANGUAGE.match(text)) is not None:
            named, text = [match.group()], text[match.end() :]
        pieces: list[str] = [*named, *self._pieces.encode(self._cased(text), out_type=str)]
        return [self._ids.get(piece, self._unknown_id) for piece in pieces]

    def decode(self, ids: Sequence[int], masked: Mapping[int, str] = NOTHING_MASKED) -> str:  # noqa: ARG002
        """The text of token ids; control tokens have none."""
        pieces = [self.piece(token_id) for token_id in ids if token_id not in self._controls]
        text: str = self._pieces.decode_pieces(pieces)
        return text.replace("\u2581", " ").strip()

    def piece(self, token_id: int) -> str:
        """A token as the vocabulary spells it; one that it does not have, as unknown."""
        return self._spelled.get(token_id) or self._spelled.get(self._unknown_id, "")

    def id_of(self, piece: str) -> int | None:
        """The token of text that is spelled like this; None where there is none."""
        token_id = self._ids.get(piece)
        return None if token_id is None or token_id in self._controls or token_id == self._unknown_id else token_id

    def is_control(self, token_id: int) -> bool:
        """Whether a token stands for no text, such as the end of the sentence."""
        return token_id in self._controls

    @property
    def word_starts(self) -> frozenset[int]:
        """None is known."""
        return frozenset()

    def spell(self, piece: str) -> list[int]:
        """A piece as the tokens of its characters."""
        return [self._ids.get(character, self._unknown_id) for character in piece]

    def normalized_bytes(self, text: str) -> int:
        """UTF-8 bytes of a text as it is normalized before it is cut."""
        normalized: str = self._pieces.normalize(self._cased(text))
        return len(normalized.replace("\u2581", " ").encode())

    @property
    def unknown_id(self) -> int:
        """The token for what no piece spells."""
        return self._unknown_id

    def require(self, token_id: int, piece: str) -> None:
        """Raises VocabularyError where a token is not the piece that the manifest says."""
        if self._spelled.get(token_id) != piece:
            raise VocabularyError(f"the vocabulary does not have {piece!r} as token {token_id}, as the manifest says")

    def _cased(self, text: str) -> str:
        return text.lower() if self._lowercase else text
