"""Text to token ids and back, with a tokenizer of the library `tokenizers`, as JSON; the one file that knows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from service.model.errors import VocabularyError
from service.model.vocabulary import NOTHING_MASKED


class JsonVocabulary:
    """One tokenizer, without what it would put around a text. Special tokens in a text are text."""

    def __init__(self, content: bytes, size: int, *, unknown_id: int, where: str = "the vocabulary") -> None:
        """size: ids are below it. Raises VocabularyError for damaged content, and where `tokenizers` is not there."""
        try:
            from tokenizers import Tokenizer
        except ModuleNotFoundError as error:
            raise VocabularyError(f"{where} needs tokenizers: pip install 'stepstream[tokenizers]'") from error
        try:
            self._tokenizer = Tokenizer.from_buffer(content)
        except Exception as error:  # the library raises no class of its own
            raise VocabularyError(f"{where} is no tokenizer in JSON") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        known = self._tokenizer.get_vocab(with_added_tokens=True)
        if max(known.values(), default=0) >= size:
            raise VocabularyError(f"{where} has token {max(known.values())}, the manifest says {size} tokens")
        added = self._tokenizer.get_added_tokens_decoder()
        self._controls = frozenset(token_id for token_id, token in added.items() if token.special)
        self._unknown_id = unknown_id

    def encode(self, text: str) -> list[int]:
        """Token ids, without those around the text."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int], masked: Mapping[int, str] = NOTHING_MASKED) -> str:  # noqa: ARG002
        """The text of token ids; control tokens have none."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def piece(self, token_id: int) -> str:
        """A token as the vocabulary spells it; one that it does not have, as unknown."""
        return self._tokenizer.id_to_token(token_id) or self._tokenizer.id_to_token(self._unknown_id) or ""

    def id_of(self, piece: str) -> int | None:
        """The token of text that is spelled like this; None where there is none."""
        token_id: int | None = self._tokenizer.token_to_id(piece)
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
        known = [self._tokenizer.token_to_id(character) for character in piece]
        return [self._unknown_id if token_id is None else token_id for token_id in known]

    def normalized_bytes(self, text: str) -> int:
        """UTF-8 bytes of a text as it is normalized before it is cut."""
        normalizer = self._tokenizer.normalizer
        return len((text if normalizer is None else normalizer.normalize_str(text)).encode())

    @property
    def unknown_id(self) -> int:
        """The token for what no piece spells."""
        return self._unknown_id

    def require(self, token_id: int, piece: str) -> None:
        """Raises VocabularyError where a token is not the piece that the manifest says."""
        if self._tokenizer.id_to_token(token_id) != piece:
            raise VocabularyError(f"the vocabulary does not have {piece!r} as token {token_id}, as the manifest says")
