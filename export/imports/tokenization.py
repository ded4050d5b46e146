"""What a version needs to know of texts."""

from __future__ import annotations

from dataclasses import dataclass

from service.model.vocabulary_files import VocabularyFiles

UNDETERMINED = "und"
"""A language that nobody names (ISO 639-2)."""


@dataclass(frozen=True)
class Tokenization:
    """The manifest's part, the contents of its files by name, and the languages of a request that names none."""

    vocabulary: VocabularyFiles
    files: dict[str, bytes]
    source_language: str
    target_language: str
