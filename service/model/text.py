"""A model's texts: sentences to source tokens and target tokens to text, placeholders put back on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from service.model.errors import VocabularyError
from service.model.json_vocabulary import JsonVocabulary
from service.model.languages import Languages, UnknownLanguageError
from service.model.manifest import Manifest
from service.model.piece_vocabulary import LANGUAGE, PieceVocabulary
from service.model.placeholders import TooManyPlaceholdersError, hide, hide_again
from service.model.table_vocabulary import TableVocabulary
from service.model.vocabulary import NOTHING_MASKED, AnyVocabulary, TextStream, Vocabulary
from service.model.vocabulary_files import Side

_UNREAD: Mapping[str, bytes] = MappingProxyType({})


@dataclass(frozen=True)
class Source:
    """A sentence as the model reads it, with what stands around every text, such as the end of the sentence;
    placeholders are what the masks among its ids stand for, in the order of the manifest's masks; target_prefix is what
    its target begins with; is_empty: there is no text."""

    ids: tuple[int, ...]
    placeholders: tuple[str, ...] = ()
    target_prefix: tuple[int, ...] = ()
    is_empty: bool = False


class Texts:
    """Both vocabularies of one version and the placeholders that its masks stand for."""

    def __init__(self, manifest: Manifest, source: AnyVocabulary, target: AnyVocabulary) -> None:
        self._languages = Languages(manifest)
        self._languages_in_text = manifest.vocabulary.languages_in_text
        self._has_languages = bool(manifest.vocabulary.languages)
        self._masks = manifest.vocabulary.masks
        self._source = source
        self._target = target

    def read(self, text: str, source_language: str = "", target_language: str = "") -> Source:
        """A text's source in the languages that a request chooses, those of the manifest where it chooses none; empty
        for white space. Raises TooManyPlaceholdersError for more placeholders than the model has masks, and
        UnknownLanguageError."""
        named_in_text = self._languages_in_text and LANGUAGE.match(text) is not None
        frame = self._languages.frame(source_language, target_language, named_in_text=named_in_text)
        placeholders: tuple[str, ...] = ()
        if self._masks:
            text, placeholders = hide(text, [mask.piece for mask in self._masks])
        ids = self._source.encode(text)
        masks = [mask.source_id for mask in self._masks]
        spelled = _spell_out(ids, masks, masks[: len(placeholders)], self._source)
        return Source((*frame.before, *spelled, *frame.after), placeholders, frame.target_prefix, not spelled)

    def are_tokens_of(self, source_ids: Sequence[int], text: str) -> bool:
        """Whether a source is this text's, in the languages of the manifest; of a model that has others, in any."""
        try:
            source = self.read(text)
        except UnknownLanguageError:
            source = Source(())
        except TooManyPlaceholdersError:
            return False
        wanted = tuple(source_ids)
        if source.ids == wanted or not self._has_languages:
            return source.ids == wanted
        return self.find_in_source(text, Source(wanted)) is not None

    def normalized_bytes(self, text: str) -> int:
        """UTF-8 bytes of a source text as the vocabulary normalizes it."""
        return self._source.normalized_bytes(text)

    def source_pieces(self, source: Source) -> list[str]:
        """The source's tokens as the vocabulary spells them, placeholders as the text does."""
        masked = dict(zip((mask.source_id for mask in self._masks), source.placeholders, strict=False))
        return [masked.get(token_id) or self._source.piece(token_id) for token_id in source.ids]

    def target_piece(self, token_id: int, source: Source) -> str:
        """One target token in the same way."""
        return self._masked(source).get(token_id) or self._target.piece(token_id)

    def find_in_source(self, phrase: str, source: Source) -> tuple[int, int] | None:
        """Where a phrase stands in a source, from its first token to before its end; None where it does not, or not as
        whole words."""
        wanted = self._source.encode(phrase)
        for start in range(len(source.ids) - len(wanted) + 1) if wanted else ():
            if list(source.ids[start : start + len(wanted)]) == wanted:
                return start, start + len(wanted)
        return None

    def read_target(self, text: str, source: Source) -> tuple[int, ...]:
        """The text of a target of this source, or a part of it, as token ids without the end of the sentence."""
        masked = hide_again(text, source.placeholders, [mask.piece for mask in self._masks])
        ids = self._target.encode(masked if source.placeholders else text)
        masks = [mask.target_id for mask in self._masks]
        return tuple(_spell_out(ids, masks, masks[: len(source.placeholders)], self._target))

    def target_id(self, piece: str) -> int | None:
        """The target token of text that is spelled like this; None where there is none."""
        return self._target.id_of(piece)

    def is_control(self, token_id: int) -> bool:
        """Whether a target token is for control and stands for no text, such as the end of the sentence."""
        return self._target.is_control(token_id)

    @property
    def unknown_id(self) -> int:
        """The target token for what no piece spells."""
        return self._target.unknown_id

    def stream(self, source: Source) -> TextStream:
        """The text of a target of this source that is still being made."""
        return TextStream(self._target, self._masked(source))

    def write(self, target_ids: Sequence[int], source: Source) -> str:
        """The text of a whole target of this source."""
        return self._target.decode(target_ids, self._masked(source))

    def _masked(self, source: Source) -> Mapping[int, str]:
        if not source.placeholders:
            return NOTHING_MASKED
        return dict(zip((mask.target_id for mask in self._masks), source.placeholders, strict=False))


def _spell_out(ids: Sequence[int], masks: Sequence[int], hidden: Sequence[int], vocabulary: AnyVocabulary) -> list[int]:
    """The ids of a text without masks that the text brought itself, such as by a full-width percent sign: the first of
    each hidden one stays, all others are spelled out."""
    if not masks or sum(token_id in masks for token_id in ids) == len(hidden):
        return list(ids)
    left, spelled = set(hidden), []
    for token_id in ids:
        if token_id in left or token_id not in masks:
            left.discard(token_id)
            spelled.append(token_id)
        else:
            spelled.extend(vocabulary.spell(vocabulary.piece(token_id)))
    return spelled


def open_texts(manifest: Manifest, folder: Path, contents: Mapping[str, bytes] = _UNREAD) -> Texts:
    """The texts of the version in FOLDER, from the contents of its files where they were read before; raises
    VocabularyError."""
    files = manifest.vocabulary

    def vocabulary(side: Side, name: str, pieces: str | None, size: int) -> AnyVocabulary:
        path, kind = folder / name, manifest.tokenizer(side)
        if kind == "sentencepiece":
            return Vocabulary(path, size, contents.get(name))
        if kind == "table":
            return TableVocabulary(path, size, contents.get(name))
        assert files.unknown_id is not None
        if kind == "tokenizers":
            return JsonVocabulary(_content(path, contents), size, unknown_id=files.unknown_id, where=str(path))
        assert pieces is not None
        return PieceVocabulary(
            _content(path, contents),
            _content(folder / pieces, contents),
            size,
            unknown_id=files.unknown_id,
            control_ids=files.control_ids,
            languages_in_text=files.languages_in_text,
            lowercase=side in files.lowercase,
            where=str(path),
        )

    source = vocabulary("source", files.source, files.source_pieces, files.source_size)
    target = vocabulary("target", files.target, files.target_pieces, files.target_size)
    for mask in files.masks:
        source.require(mask.source_id, mask.piece)
        target.require(mask.target_id, mask.piece)
    return Texts(manifest, source, target)


def _content(path: Path, contents: Mapping[str, bytes]) -> bytes:
    try:
        return contents[path.name] if path.name in contents else path.read_bytes()
    except OSError as error:
        raise VocabularyError(f"{path} cannot be read: {error.strerror}") from error
