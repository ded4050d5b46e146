"""Texts of programs with their translations, as the people who localise them wrote them: gettext catalogues and
LibreOffice's help pages. It knows their formats, and neither languages nor where they come from."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import lxml.etree
import lxml.html
import polib

from export.errors import CorpusError

Pair = tuple[str, str]
"""A text and its translation."""

BLANK_LINE = re.compile(r"\n\s*\n")
# A page holds a variant for each system and program, all hidden until a script shows one.
OTHER_VARIANTS = "//*[@hidden][not(starts-with(@id, 'default'))]"
PARAGRAPHS = (
    "//body//*[self::p or self::h1 or self::h2 or self::h3 or self::h4 or self::h5 or self::h6]"
    "[@id][not(.//*[starts-with(@class, 'switch')][not(*)])]"
)


def read_catalogue(content: bytes, name: str) -> Iterator[Pair]:
    """Every message of a compiled catalogue (.mo), in paragraphs where both sides have as many. One with a plural
    counts twice, each time with the first form of its translation.

    Raises CorpusError, with `name`, for what is no catalogue.
    """
    try:
        messages = polib.mofile(content)
    except (OSError, ValueError, LookupError, struct.error) as error:
        raise CorpusError(f"{name} is no gettext catalogue: {error}") from error
    for message in messages:
        translation = message.msgstr or message.msgstr_plural.get(0, "")
        targets = BLANK_LINE.split(translation.strip())
        for text in filter(None, (message.msgid, message.msgid_plural)):
            sources = BLANK_LINE.split(text.strip())
            if len(sources) == len(targets):
                yield from zip(sources, targets, strict=True)
            else:
                yield text, translation


def pair_pages(source: bytes, target: bytes, name: str) -> Iterator[Pair]:
    """Headings and paragraphs that have the same id on both sides of a help page (HTML).

    Raises CorpusError, with `name`, for a side that is no page.
    """
    try:
        texts, translations = _paragraphs(source), _paragraphs(target)
    except lxml.etree.LxmlError as error:
        raise CorpusError(f"{name} is no page of help: {error}") from error
    for identifier, text in texts.items():
        if identifier in translations:
            yield text, translations[identifier]


def _paragraphs(page: bytes) -> dict[str, str]:
    """The text of each heading and paragraph by id, with the default of its variants; none where there is none."""
    root = lxml.html.document_fromstring(page, parser=lxml.html.HTMLParser(encoding="utf-8"))
    for variant in root.xpath(OTHER_VARIANTS):
        variant.drop_tree()
    return {element.get("id"): element.text_content() for element in root.xpath(PARAGRAPHS)}
