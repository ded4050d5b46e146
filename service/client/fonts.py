"""Finds fonts that have a glyph for every character of a text, by what the fonts hold and not by their names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font, StyleFlags

from service.client.errors import MissingFontError

BASE_FAMILY = "DejaVu Sans"
NUM_SHOWN = 5


def families_for(text: str, paths: Iterable[str] | None = None) -> list[str]:
    """Families for matplotlib's `font.family`, the one that matplotlib brings first, that together show the text.

    paths: the font files to choose from beside that one; None: the one of the `plot` extra, then all installed ones.
    Raises MissingFontError where a character is left over.
    """
    families = [BASE_FAMILY]
    missing = {character for character in text if character.isprintable() and not character.isspace()}
    missing -= _characters(font_manager.findfont(BASE_FAMILY))
    candidates = list(_font_paths() if paths is None else paths) if missing else []
    while missing:
        path = _best(candidates, missing)
        if path is None:
            raise MissingFontError(_what_to_install(missing))
        families.append(_register(path))
        missing -= _characters(path)
    return families


def _font_paths() -> Iterator[str]:
    try:
        import pylopdf_fonts_ko
    except ImportError:
        pass
    else:
        yield str(pylopdf_fonts_ko.sans_path())
    yield from sorted(font_manager.findSystemFonts())


def _best(paths: Iterable[str], missing: set[str]) -> str | None:
    """The first font that shows all of the characters, or else the one that shows most; None where none shows any."""
    best, most = None, 0
    for path in paths:
        found = len(missing & _characters(path))
        if found > most:
            best, most = path, found
        if found == len(missing):
            break
    return best


@cache
def _characters(path: str) -> frozenset[str]:
    """The characters that a font has glyphs for; none if it is bold, slanted, made of bitmaps or no font at all."""
    try:
        font = FT2Font(path)
    except (OSError, RuntimeError):
        return frozenset()
    if not font.scalable or font.style_flags & (StyleFlags.BOLD | StyleFlags.ITALIC):
        return frozenset()
    return frozenset(map(chr, font.get_charmap()))


def _register(path: str) -> str:
    """Make a font file known to matplotlib; the family that it is known by."""
    manager = font_manager.fontManager
    if not any(Path(entry.fname) == Path(path) for entry in manager.ttflist):
        manager.addfont(path)
    return font_manager.FontProperties(fname=path).get_name()


def _what_to_install(missing: set[str]) -> str:
    shown = " ".join(sorted(missing)[:NUM_SHOWN])
    more = f" and {len(missing) - NUM_SHOWN} more" if len(missing) > NUM_SHOWN else ""
    return (
        f"no font shows {shown}{more}: for Korean pip install 'stepstream[plot]', for any script install "
        "a font that has them, such as Debian's fonts-nanum (Korean) or fonts-noto-cjk (Chinese, Japanese, Korean)"
    )
