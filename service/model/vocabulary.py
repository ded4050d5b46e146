"""Text to token ids and back, with SentencePiece. It does not know models or requests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import sentencepiece

from service.model.errors import BundleError


class Vocabulary:
    """One SentencePiece model. Special tokens in a text are text: they never become control tokens."""

    def __init__(self, path: Path, size: int) -> None:
        """Raises BundleError for a damaged file or one with another number of pieces than `size`."""
        try:
            self._pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as error:
            raise BundleError(f"{path} is no SentencePiece model") from error
        if self._pieces.get_piece_size() != size:
            raise BundleError(f"{path} has {self._pieces.get_piece_size()} pieces, the manifest says {size}")

    def encode(self, text: str) -> list[int]:
        """Token ids, without begin and end."""
        ids: list[int] = self._pieces.encode(text)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; control tokens have none."""
        text: str = self._pieces.decode(list(ids))
        return text

    def piece(self, token_id: int) -> str:
        """A token as the vocabulary spells it."""
        piece: str = self._pieces.id_to_piece(int(token_id))
        return piece


class TextStream:
    """The text of a growing target: `add` returns what each token adds, and the deltas joined are `text`."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._ids: list[int] = []
        self.text = ""

    def add(self, token_id: int) -> str:
        """The text that a token adds; empty while a character is incomplete."""
        self._ids.append(token_id)
        whole = self._vocabulary.decode(self._ids)
        if whole.endswith("\ufffd") or not whole.startswith(self.text):
            return ""
        delta = whole[len(self.text) :]
        self.text = whole
        return delta

    def finish(self) -> str:
        """What `add` held back at the end."""
        whole = self._vocabulary.decode(self._ids)
        if not whole.startswith(self.text):
            return ""
        delta = whole[len(self.text) :]
        self.text = whole
        return delta
