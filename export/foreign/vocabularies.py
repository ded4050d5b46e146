"""Makes the vocabulary files of a version from those that a mapping names. It knows no graph."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import sentencepiece

from export.errors import ForeignError
from export.foreign.mapping import SourceRoles, TargetRoles, TokenOrId, VocabularyRoles
from service.model.table_vocabulary import Marker, VocabularyTable


@dataclass(frozen=True)
class PreparedVocabulary:
    """A vocabulary as the version holds it: file name, content, its tokens by id, and those that stand for text."""

    file: str
    content: bytes
    tokens: tuple[str, ...]
    text_ids: tuple[int, ...]
    origin: Path

    def ids(self, role: str, wanted: Sequence[TokenOrId]) -> tuple[int, ...]:
        """The ids of tokens; raises ForeignError for one that the vocabulary has not."""
        return tuple(self.id(role, one) for one in wanted)

    def id(self, role: str, wanted: TokenOrId) -> int:
        """Of one token."""
        if isinstance(wanted, int):
            if wanted >= len(self.tokens):
                raise ForeignError(f"{role}: {self.origin} has {len(self.tokens)} tokens, and no token {wanted}")
            return wanted
        if wanted not in self.tokens:
            raise ForeignError(f"{role}: {self.origin} has no token {wanted!r}")
        return self.tokens.index(wanted)


def prepare_vocabulary(folder: Path, side: str, roles: SourceRoles | TargetRoles) -> PreparedVocabulary:
    """The vocabulary of one side, whose file lies in FOLDER; raises ForeignError."""
    path = folder / roles.vocabulary
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ForeignError(f"{side}.vocabulary: {path} cannot be read: {error.strerror}") from error
    if roles.tokenizer == "sentencepiece":
        return _prepare_sentencepiece(path, content, side, roles)
    tokens = _read_tokens(path, content)
    named = PreparedVocabulary("", b"", tokens, (), path)
    assert roles.unknown is not None
    controls = _controls(side, roles, named)
    marker, mark = _marker(roles)
    table = VocabularyTable(
        kind=roles.tokenizer,
        tokens=tokens,
        controls=tuple(sorted(controls)),
        unknown_id=named.id(f"{side}.unknown", roles.unknown),
        marker=marker,
        mark=mark,
        normalization=roles.normalization,
        replace=dict(_replacements(f"{side}.replace", roles)),
    )
    stored = table.model_dump_json(indent=1, exclude_defaults=True) + "\n"
    return PreparedVocabulary(f"{side}_vocabulary.json", stored.encode(), tokens, _others(tokens, controls, path), path)


def _controls(side: str, roles: SourceRoles | TargetRoles, named: PreparedVocabulary) -> set[int]:
    controls = {
        named.id(f"{side}.{role}", one) for role, tokens in roles.special().items() for one in tokens if one is not None
    }
    if roles.tokenizer == "characters":
        controls |= {i for i, token in enumerate(named.tokens) if len(token) > 1}
    return controls


def _marker(roles: VocabularyRoles) -> tuple[Marker, str]:
    if roles.word_start is not None:
        return "word_start", roles.word_start
    if roles.continuation is not None:
        return "continuation", roles.continuation
    if roles.joiner is not None:
        return "joiner", roles.joiner
    return "none", ""


def _replacements(where: str, roles: VocabularyRoles) -> Iterator[tuple[str, str]]:
    for wanted, text in roles.replace.items():
        if len(wanted) == 1:
            yield wanted, text
        elif len(wanted) == 3 and wanted[1] == "-" and wanted[0] <= wanted[2]:
            yield from ((chr(code), text) for code in range(ord(wanted[0]), ord(wanted[2]) + 1))
        else:
            raise ForeignError(f"{where}: {wanted!r} is neither a character nor a range of them")


def _others(tokens: Sequence[str], controls: set[int], path: Path) -> tuple[int, ...]:
    ids = tuple(i for i in range(len(tokens)) if i not in controls)
    if not ids:
        raise ForeignError(f"{path} has no token that stands for text")
    return ids


def _prepare_sentencepiece(
    path: Path, content: bytes, side: str, roles: SourceRoles | TargetRoles
) -> PreparedVocabulary:
    try:
        pieces = sentencepiece.SentencePieceProcessor(model_proto=content)
    except RuntimeError as error:
        raise ForeignError(f"{path} is no SentencePiece model, or is cut short") from error
    tokens = tuple(pieces.id_to_piece(i) for i in range(pieces.get_piece_size()))
    controls = _controls(side, roles, PreparedVocabulary("", b"", tokens, (), path))
    controls |= {i for i in range(len(tokens)) if pieces.is_control(i) or pieces.is_unknown(i) or pieces.is_unused(i)}
    return PreparedVocabulary(f"{side}.model", content, tokens, _others(tokens, controls, path), path)


def _read_tokens(path: Path, content: bytes) -> tuple[str, ...]:
    try:
        text = content.decode("utf-8")
        found = json.loads(text) if path.suffix == ".json" else text.splitlines()
    except ValueError as error:
        raise ForeignError(f"{path} is no vocabulary, or is cut short: {error}") from error
    if isinstance(found, dict) and isinstance(found.get("tokens"), list):
        found = found["tokens"]
    if isinstance(found, dict) and sorted(map(str, found.values())) == sorted(map(str, range(len(found)))):
        found = [token for token, _ in sorted(found.items(), key=lambda pair: int(pair[1]))]
    if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
        raise ForeignError(f"{path} is no list of tokens, nor an object from token to id with every id from 0 once")
    if twice := sorted({one for one in found if found.count(one) > 1} if len(set(found)) < len(found) else ()):
        raise ForeignError(f"{path} has the token {twice[0]!r} twice")
    return tuple(found)
