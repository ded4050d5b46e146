"""Pieces of a vocabulary merged to words, and attention between words instead of pieces. Plain values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from service.client.errors import ServerError
from service.client.types import StepEvent

WORD_START = "▁"
CONTROL_PIECES = frozenset({"<pad>", "<s>", "</s>"})
_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_WRITTEN_WITHOUT_SPACES = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff]"
)


@dataclass(frozen=True)
class Word:
    """A word and the places start, ..., stop - 1 of its pieces."""

    text: str
    start: int
    stop: int


@dataclass(frozen=True)
class WordAttention:
    """weights[t][s]: how much target word t attends to source word s; a row sums to what the rows of its pieces do."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...]


def merge_pieces(pieces: Sequence[str]) -> tuple[Word, ...]:
    """The words of consecutive pieces: every piece is part of exactly one.

    A word begins at a U+2581, at a control piece, which is a word by itself, and after one. In a script without spaces
    (Thai, Lao, Burmese, Khmer, kana, Han) each piece begins one.
    """
    bounds = [*(place for place in range(len(pieces)) if _begins_word(pieces, place)), len(pieces)]
    return tuple(Word(_text(pieces[start:stop]), start, stop) for start, stop in pairwise(bounds))


def source_words(step: StepEvent) -> tuple[Word, ...]:
    """The words of a step's source; raises ServerError unless the step has one weight for each source piece."""
    if not step.attention or len(step.attention) != len(step.source_pieces):
        raise ServerError(
            f"the server sent {len(step.attention)} attention weights for {len(step.source_pieces)} source pieces"
        )
    return merge_pieces(step.source_pieces)


def sum_over_words(weights: Sequence[float], words: Sequence[Word]) -> tuple[float, ...]:
    """One weight for each word: the sum over its pieces."""
    return tuple(sum(weights[word.start : word.stop]) for word in words)


def word_attention(steps: Sequence[StepEvent]) -> WordAttention:
    """The attention of all steps, as words: summed over source pieces, averaged over target pieces.

    Raises ServerError where there is no step, or one without a weight for each source piece.
    """
    if not steps:
        raise ServerError("the server sent a translation without a step")
    rows = [sum_over_words(step.attention, source_words(step)) for step in steps]
    target = merge_pieces([step.piece for step in steps])
    return WordAttention(
        source=tuple(word.text for word in source_words(steps[0])),
        target=tuple(word.text for word in target),
        weights=tuple(_mean(rows[word.start : word.stop]) for word in target),
    )


def _begins_word(pieces: Sequence[str], place: int) -> bool:
    piece = pieces[place]
    if place == 0 or piece.startswith(WORD_START) or piece in CONTROL_PIECES or pieces[place - 1] in CONTROL_PIECES:
        return True
    return pieces[place - 1] != WORD_START and _WRITTEN_WITHOUT_SPACES.match(piece) is not None


def _text(pieces: Sequence[str]) -> str:
    """What the pieces spell, byte pieces such as <0xEB> decoded; a lone U+2581 stays."""
    text = b"".join(_encoded(piece) for piece in pieces).decode(errors="replace")
    return _CONTROL_CHARACTER.sub("\ufffd", text).replace(WORD_START, " ").strip() or WORD_START


def _encoded(piece: str) -> bytes:
    byte = _BYTE_PIECE.fullmatch(piece)
    return bytes.fromhex(byte[1]) if byte else piece.encode(errors="replace")


def _mean(rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(sum(column) / len(rows) for column in zip(*rows, strict=True))
