"""What of a program's text and its Korean translation is worth learning, without the marks of its tool kit."""

from __future__ import annotations

import re
import unicodedata

from export.corpora.catalogues import Pair
from service.model.placeholders import PLACEHOLDER, count_placeholders

MAX_LENGTH = 400
MAX_ENGLISH_PER_KOREAN, MAX_KOREAN_PER_ENGLISH, MARGIN = 4, 2, 10
MAX_LETTERS_PER_HANGUL = 8

KEY_AFTER = re.compile(r"\s*\(([&_~])(\w)\)")
KEY_BEFORE = re.compile(r"(?<![\w&~%$])(?:[&_](?=[^\W_](?!\w*[;_]))|~(?=[A-Za-z]{2}))")
KEY_WITHIN = re.compile(r"[A-Za-z][&~][a-z](?!\w*;)")
CONTEXT = re.compile(r"^(?:_: [^\n]*\n|[^|%]{1,40}\|(?=\S))")
OTHER_FORM = "|/|"
HANGUL, LETTER, LATIN = re.compile("[가-힣]"), re.compile(r"[^\W\d_]"), re.compile("[A-Za-z]")
NOT_TRANSLATED = re.compile(r"translator[-_ ]credits|your (?:names|emails)|;$", re.IGNORECASE)


def clean(source: str, target: str) -> Pair | None:
    """English and Korean without context and accelerator marks, each on one line; None for what teaches nothing:
    no English or too little Korean, lengths that do not belong together, lists of keywords and names, and
    placeholders or underscores that were not kept."""
    target = target.partition(OTHER_FORM)[0]  # KDE's second form is a script
    if "|" not in target:
        source = CONTEXT.sub("", source)
    source, target = (" ".join(unicodedata.normalize("NFC", text).split()) for text in (source, target))
    source, target = strip_keys(source, target)
    return (source, target) if _is_translation(source, target) else None


def strip_keys(source: str, target: str) -> Pair:
    """Take out what marks the key that chooses a menu entry: `_` in GTK, `&` in Qt, `~` in LibreOffice. In English
    the mark stands before a letter; Korean names that letter in brackets at the end, or marks its own."""
    if key := KEY_AFTER.search(target):
        source = re.sub(re.escape(key[1]) + f"(?={key[2]})", "", source, count=1, flags=re.IGNORECASE)
        target = KEY_AFTER.sub("", target)
    return KEY_BEFORE.sub("", source, count=1), KEY_BEFORE.sub("", target, count=1)


def _is_translation(source: str, target: str) -> bool:
    num_hangul = len(HANGUL.findall(target))
    return (
        len(source) <= min(MAX_LENGTH, MAX_ENGLISH_PER_KOREAN * len(target) + MARGIN)
        and len(target) <= min(MAX_LENGTH, MAX_KOREAN_PER_ENGLISH * len(source) + MARGIN)
        and LATIN.search(source) is not None
        and HANGUL.search(source) is None
        and num_hangul > 0
        and len(LETTER.findall(PLACEHOLDER.sub(" ", target))) <= MAX_LETTERS_PER_HANGUL * num_hangul
        and KEY_WITHIN.search(source) is None
        and source.count("_") == target.count("_")
        and NOT_TRANSLATED.search(source) is None
        and count_placeholders(source) == count_placeholders(target)
    )
