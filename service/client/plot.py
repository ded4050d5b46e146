"""Attention between words as a picture: PNG, SVG or PDF, the same bytes for the same attention. It needs matplotlib."""

from __future__ import annotations

import os
from dataclasses import replace
from io import BytesIO
from pathlib import Path

from matplotlib import style
from matplotlib.figure import Figure
from rich.cells import cell_len

from service.client.fonts import families_for
from service.client.words import WordAttention

CELL_INCHES = 0.42
MARGIN_INCHES = 1.5
CHARACTERS_PER_INCH = 9.0
FEWEST_CHARACTERS = 50
SMALLEST_WRITTEN = 0.1
RESOLUTION_DPI = 150
METADATA = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def save_attention_plot(path: Path, attention: WordAttention, *, title: str, translation: str) -> None:
    """Write the picture in the format that the suffix names; it appears, or is replaced, only when it is complete.

    Raises MissingFontError where no installed font shows a character, OSError where the file cannot be written.
    """
    title, translation = printable(title), printable(translation)
    attention = replace(
        attention,
        source=tuple(map(printable, attention.source)),
        target=tuple(map(printable, attention.target)),
    )
    families = families_for("".join([title, translation, *attention.source, *attention.target]))
    picture = BytesIO()
    file_format = path.suffix.lower().removeprefix(".")
    with style.context(["default", {"font.family": families, "svg.hashsalt": "stepstream"}]):
        figure = attention_figure(attention, title=title, translation=translation)
        figure.savefig(
            picture, format=file_format, dpi=RESOLUTION_DPI, bbox_inches="tight", metadata=METADATA[file_format]
        )
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(picture.getvalue())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def attention_figure(attention: WordAttention, *, title: str, translation: str) -> Figure:
    """A heatmap: source words along the top, target words down the side, the greater weights written into their cells.

    It is drawn with the fonts that matplotlib's `font.family` names.
    """
    width = len(attention.source) * CELL_INCHES + MARGIN_INCHES
    figure = Figure(figsize=(width, len(attention.target) * CELL_INCHES + MARGIN_INCHES))
    axes = figure.add_subplot()
    image = axes.imshow(attention.weights, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.set_xticks(range(len(attention.source)), attention.source, rotation=45, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(attention.target)), attention.target)
    axes.xaxis.tick_top()
    for label in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
        label.set_parse_math(False)
    axes.tick_params(length=0)
    axes.spines[:].set_color("lightgrey")
    for row, weights in enumerate(attention.weights):
        for column, weight in enumerate(weights):
            if weight >= SMALLEST_WRITTEN:
                color = "white" if weight > 0.5 else "black"
                axes.text(column, row, f"{weight:.2f}", ha="center", va="center", size=7, color=color)
    wrapped = wrap(translation, max(FEWEST_CHARACTERS, round(width * CHARACTERS_PER_INCH)))
    axes.set_title("\n".join([title, *wrapped]), loc="left", size=10, parse_math=False)
    num_columns = len(attention.source)
    scale = axes.inset_axes((1 + 0.4 / num_columns, 0.0, 0.35 / num_columns, 1.0))
    figure.colorbar(image, cax=scale, label="attention")
    return figure


def wrap(text: str, width: int) -> list[str]:
    """Lines of whole words, each at most `width` terminal cells wide unless one word is wider."""
    lines: list[str] = []
    for word in text.split():
        if lines and cell_len(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def printable(text: str) -> str:
    """The text without the characters that no font shows, such as joiners and marks of direction."""
    return "".join(character for character in text if character.isprintable() or character.isspace())
