"""Reads the sentences that an import compares, as the version that serves them reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from export.errors import TokensDifferError
from export.imports.original import Ask
from service.model.manifest import Manifest
from service.model.text import Source, open_texts


def read_sources(manifest: Manifest, folder: Path, asks: Sequence[Ask]) -> tuple[list[Ask], list[Source]]:
    """Those that the model takes, and how it reads them."""
    texts, most = open_texts(manifest, folder), manifest.max_source_length
    read = [(ask, texts.read(ask.text, ask.source_language, ask.target_language)) for ask in asks]
    taken = [(ask, source) for ask, source in read if len(source.ids) <= most and not source.is_empty]
    if not taken:
        raise TokensDifferError(f"no sentence to compare has at most {most} tokens; --sentences brings others")
    return [ask for ask, _ in taken], [source for _, source in taken]
