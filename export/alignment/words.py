"""Words of a sentence from its SentencePiece pieces, so that each piece belongs to exactly one word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sentencepiece

SPACE = "\u2581"
"""What SentencePiece writes for a space."""


@dataclass(frozen=True)
class Sentence:
    """piece_ids: without begin and end; word_of_piece: for each of them, which of `words` it is a part of."""

    piece_ids: list[int]
    words: list[str]
    word_of_piece: list[int]


def split(pieces: Sequence[str]) -> tuple[list[str], list[int]]:
    """Lowercase words, and for each piece the number of its word.

    A word begins where a piece begins with a space, and where letters and digits meet anything else, so that
    punctuation stands alone.
    """
    words: list[str] = []
    word_of_piece = []
    before = ""
    for piece in pieces:
        goes_on = before == SPACE or (before.isalnum() and piece[0].isalnum())
        if goes_on and piece[0] != SPACE:
            words[-1] += piece
        else:
            words.append(piece)
        word_of_piece.append(len(words) - 1)
        before = piece[-1]
    return [word.replace(SPACE, "").lower() for word in words], word_of_piece


def read_sentences(texts: Sequence[str], vocabulary: sentencepiece.SentencePieceProcessor) -> list[Sentence]:
    """Texts as pieces and words."""
    pieces, ids = vocabulary.encode(list(texts), out_type=str), vocabulary.encode(list(texts))
    return [Sentence(of_text, *split(names)) for of_text, names in zip(ids, pieces, strict=True)]
