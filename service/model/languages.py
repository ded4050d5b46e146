"""Which tokens stand around a source and before its target, by the languages that a request chooses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from service.model.manifest import Manifest
from service.model.vocabulary_files import LanguageToken

MANY = "mul"
"""What a manifest has in place of a language where a request must choose one (ISO 639-2: multiple languages)."""


class UnknownLanguageError(ValueError):
    """A request chooses a language that the model does not have, or none where it must: `field` says which, languages
    are those that it may name."""

    def __init__(self, field: LanguageToken, languages: tuple[str, ...], *, is_missing: bool) -> None:
        super().__init__(f"{field} is missing" if is_missing else f"{field} is none of the model's languages")
        self.field, self.languages, self.is_missing = field, languages, is_missing


class Frame(NamedTuple):
    """Token ids: before a source's own and after them, and what its target begins with."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    target_prefix: tuple[int, ...]


class Languages:
    """The languages of one model."""

    def __init__(self, manifest: Manifest) -> None:
        vocabulary = manifest.vocabulary
        self._defaults: dict[LanguageToken, str] = {
            "source_language": manifest.source_language,
            "target_language": manifest.target_language,
        }
        self._ids: dict[LanguageToken, dict[str, int]] = {
            "source_language": {one.code: one.source_id for one in vocabulary.languages if one.source_id is not None},
            "target_language": {one.code: one.target_id for one in vocabulary.languages if one.target_id is not None},
        }
        self._may_be_left_out = vocabulary.languages_in_text
        self._parts = (*manifest.source_frame, vocabulary.target_prefix)

    def frame(self, source_language: str = "", target_language: str = "", *, named_in_text: bool = False) -> Frame:
        """The frame for a request's languages, empty for those of the manifest; named_in_text: the text itself names
        its target language. Raises UnknownLanguageError."""
        chosen: dict[LanguageToken, str] = {"source_language": source_language, "target_language": target_language}
        for field, code in chosen.items():
            if code and code != self._defaults[field] and code not in self._ids[field]:
                raise UnknownLanguageError(field, self._of(field), is_missing=False)

        def ids(part: Sequence[int | LanguageToken]) -> tuple[int, ...]:
            found = (one if isinstance(one, int) else self._token(one, chosen[one], named_in_text) for one in part)
            return tuple(token_id for token_id in found if token_id is not None)

        return Frame(*map(ids, self._parts))

    def _token(self, field: LanguageToken, code: str, named_in_text: bool) -> int | None:
        """None where nothing is to be said of the target language, since the text may say it."""
        if field == "target_language" and not code and named_in_text:
            return None
        token_id = self._ids[field].get(code or self._defaults[field])
        if token_id is None and not self._may_be_left_out:
            raise UnknownLanguageError(field, self._of(field), is_missing=True)
        return token_id

    @property
    def sources(self) -> tuple[str, ...]:
        """The codes that a request may name as source_language."""
        return self._of("source_language")

    @property
    def targets(self) -> tuple[str, ...]:
        """The codes that a request may name as target_language."""
        return self._of("target_language")

    def _of(self, field: LanguageToken) -> tuple[str, ...]:
        return tuple(self._ids[field]) or (self._defaults[field],)
