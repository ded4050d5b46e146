"""Text to token ids and back, with SentencePiece. It does not know models or requests."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import sentencepiece

from service.model.errors import VocabularyError

SPACE = "\u2581"
"""How a piece spells a space."""
NOTHING_MASKED: Mapping[int, str] = MappingProxyType({})


class AnyVocabulary(Protocol):
    """What texts need of a vocabulary: see `Vocabulary`."""

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int], masked: Mapping[int, str] = NOTHING_MASKED) -> str: ...

    def piece(self, token_id: int) -> str: ...

    def id_of(self, piece: str) -> int | None: ...

    def is_control(self, token_id: int) -> bool: ...

    @property
    def word_starts(self) -> frozenset[int]: ...

    def spell(self, piece: str) -> list[int]: ...

    def normalized_bytes(self, text: str) -> int: ...

    @property
    def unknown_id(self) -> int: ...

    def require(self, token_id: int, piece: str) -> None: ...


class Vocabulary:
    """One SentencePiece model. Special tokens in a text are text: they never become control tokens."""

    def __init__(self, path: Path, size: int, content: bytes | None = None) -> None:
        """The content of PATH where that was read before. Raises VocabularyError for a damaged file or one with another
        number of pieces than `size`."""
        try:
            self._pieces = sentencepiece.SentencePieceProcessor(
                model_proto=path.read_bytes() if content is None else content
            )
        except (OSError, RuntimeError) as error:
            raise VocabularyError(f"{path} is no SentencePiece model") from error
        self._controls = frozenset(
            i for i in range(self._pieces.get_piece_size()) if self._pieces.is_control(i) or self._pieces.is_unused(i)
        )
        self._spelled: list[str] = [self._pieces.id_to_piece(i) for i in range(self._pieces.get_piece_size())]
        self.word_starts = frozenset(
            token_id
            for token_id, piece in enumerate(self._spelled)
            if re.match(f"{SPACE}[^{SPACE}]", piece) and token_id not in self._controls
        )
        """From each of them on, a text is a space and the text of what follows, whatever comes before."""
        if self._pieces.get_piece_size() != size:
            raise VocabularyError(f"{path} has {self._pieces.get_piece_size()} pieces, the manifest says {size}")

    def encode(self, text: str) -> list[int]:
        """Token ids, without begin and end."""
        ids: list[int] = self._pieces.encode(text)
        return ids

    def decode(self, ids: Sequence[int], masked: Mapping[int, str] = NOTHING_MASKED) -> str:
        """The text of token ids; control tokens have none, and masks the text that they stand for."""
        places = [place for place, token_id in enumerate(ids) if token_id in masked] if masked else []
        text: str = self._pieces.decode(list(ids[: places[0]] if places else ids))
        for place, following in pairwise([*places, len(ids)]):
            part: str = self._pieces.decode(list(ids[place:following]))
            text += masked[ids[place]] + part.removeprefix(self.piece(ids[place]))
        return text

    def piece(self, token_id: int) -> str:
        """A token as the vocabulary spells it."""
        return self._spelled[token_id]

    def id_of(self, piece: str) -> int | None:
        """The token of text that is spelled like this; None where there is none."""
        token_id: int = self._pieces.piece_to_id(piece)
        is_text = token_id not in self._controls and token_id != self.unknown_id
        return token_id if is_text and self.piece(token_id) == piece else None

    def is_control(self, token_id: int) -> bool:
        """Whether a token stands for no text, such as the end of the sentence."""
        return token_id in self._controls

    def spell(self, piece: str) -> list[int]:
        """A piece as the tokens of its characters."""
        known = [self.id_of(character) for character in piece]
        return [self.unknown_id if token_id is None else token_id for token_id in known]

    def normalized_bytes(self, text: str) -> int:
        """UTF-8 bytes of a text as it is normalized before it is cut."""
        normalized: str = self._pieces.normalize(text)
        return len(normalized.replace(SPACE, " ").encode())

    @property
    def unknown_id(self) -> int:
        """The token for what no piece spells."""
        token_id: int = self._pieces.unk_id()
        return token_id

    def require(self, token_id: int, piece: str) -> None:
        """Raises VocabularyError where a token is not the piece that the manifest says."""
        if token_id >= self._pieces.get_piece_size() or self.piece(token_id) != piece:
            raise VocabularyError(f"the vocabulary does not have {piece!r} as token {token_id}, as the manifest says")


class TextStream:
    """The text of a growing target: `add` returns what each token adds, and the deltas joined are `text`."""

    def __init__(self, vocabulary: AnyVocabulary, masked: Mapping[int, str] = NOTHING_MASKED) -> None:
        """masked: what stands for these tokens in the text."""
        self._vocabulary = vocabulary
        self._masked = masked
        self._word_starts = vocabulary.word_starts
        self._ids: list[int] = []
        self._words = ""
        """The text before the word that `_ids` are of."""
        self.text = ""

    def add(self, token_id: int) -> str:
        """The text that a token adds; empty while a character is incomplete."""
        if token_id in self._word_starts and (before := self._whole()).strip():
            self._words, self._ids = before + " ", []
        self._ids.append(token_id)
        whole = self._whole()
        if whole.endswith("\ufffd") or not whole.startswith(self.text):
            return ""
        delta = whole[len(self.text) :]
        self.text = whole
        return delta

    def finish(self) -> str:
        """What `add` held back at the end."""
        whole = self._whole()
        if not whole.startswith(self.text):
            return ""
        delta = whole[len(self.text) :]
        self.text = whole
        return delta

    def _whole(self) -> str:
        return self._words + self._vocabulary.decode(self._ids, self._masked)
