"""Attention drawn in a terminal while it streams: source words over the columns, one row for each target piece.

Widths are those of a terminal's cells, so that wide characters and combining marks line up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console
from rich.text import Text

from service.client.terminal import show_line, show_steps
from service.client.types import StepEvent, StreamEvent
from service.client.words import Word, source_words, sum_over_words

INDENT = "   "
LABEL_WIDTH = 12
LEFT_WIDTH = len(INDENT) + LABEL_WIDTH + 2
NARROWEST = 2
NUM_LISTED = 3
DOT, FULL = "·", "█"
SHADES = ((0.05, DOT), (0.25, "░"), (0.5, "▒"), (0.75, "▓"))
LEGEND = "  ".join([*(f"{shade} <{limit}" for limit, shade in SHADES), f"{FULL} to 1"])


def show_attention(console: Console, events: Iterable[StreamEvent]) -> None:
    """A row of shaded cells for each step as it arrives, then the translation.

    Where the console is too narrow for a column for each source word, a row lists the words of greatest weight.
    Raises ServerError unless each step has one weight for each source piece.
    """
    columns: list[int] | None = None

    def show_row(console: Console, step: StepEvent, _: str) -> None:
        nonlocal columns
        words = source_words(step)
        if columns is None:
            columns = fit_columns(words, console.width - LEFT_WIDTH)
            _show_head(console, words, columns)
        weights = sum_over_words(step.attention, words)
        cells = shaded(weights, columns) if columns else listed(words, weights, console.width - LEFT_WIDTH)
        drawn = Text(cells, style="magenta")
        drawn.highlight_regex(DOT, "dim")
        console.print(Text(INDENT).append(f"{_cut(step.piece)}  ", style="bold cyan").append(drawn), soft_wrap=True)

    show_steps(console, events, show_row)


def fit_columns(words: Sequence[Word], width: int) -> list[int]:
    """The width of each word's column, as wide as the word where all fit into `width`, or the longest words cut.

    One cell lies between two columns. Empty where the words do not even fit when cut to NARROWEST cells.
    """
    natural = [max(cell_len(word.text), 1) for word in words]
    for widest in range(max(*natural, NARROWEST), NARROWEST - 1, -1):
        columns = [min(column, widest) for column in natural]
        if sum(columns) + len(columns) - 1 <= width:
            return columns
    return []


def head_lines(words: Sequence[Word], columns: Sequence[int]) -> list[str]:
    """The words over their columns; a word that is wider than its column goes on in the next line."""
    stacks = [chop_cells(word.text, column) for word, column in zip(words, columns, strict=True)]
    height = max(len(stack) for stack in stacks)
    lines = zip(*([""] * (height - len(stack)) + stack for stack in stacks), strict=True)
    return [_join(parts, columns).rstrip() for parts in lines]


def shaded(weights: Sequence[float], columns: Sequence[int]) -> str:
    """A cell for each weight: blank for exactly 0, a dot for next to nothing, then darker and darker."""
    shades = [shade_of(weight) for weight in weights]
    cells = [
        shade.center(column) if shade == DOT else shade * column for shade, column in zip(shades, columns, strict=True)
    ]
    return _join(cells, columns).rstrip()


def listed(words: Sequence[Word], weights: Sequence[float], width: int) -> str:
    """At most NUM_LISTED words with shade and weight, greatest first: one, and more that fit and are above a dot."""
    pairs = sorted(zip(weights, words, strict=True), key=lambda pair: -pair[0])[:NUM_LISTED]
    entries = [f"{shade_of(weight)} {word.text} {weight:.2f}" for weight, word in pairs]
    num_entries = sum(shade_of(weight) not in (" ", DOT) for weight, _ in pairs)
    while num_entries > 1 and cell_len("  ".join(entries[:num_entries])) > width:
        num_entries -= 1
    return "  ".join(entries[: max(num_entries, 1)])


def shade_of(weight: float) -> str:
    """One character for a weight from 0 to 1."""
    if weight == 0:
        return " "
    return next((shade for limit, shade in SHADES if weight < limit), FULL)


def _show_head(console: Console, words: Sequence[Word], columns: Sequence[int]) -> None:
    show_line(console, f"{INDENT}{LEGEND}", style="dim")
    for line in head_lines(words, columns) if columns else ():
        show_line(console, " " * LEFT_WIDTH + line, style="bold")


def _join(parts: Sequence[str], columns: Sequence[int]) -> str:
    return " ".join(set_cell_size(part, column) for part, column in zip(parts, columns, strict=True))


def _cut(piece: str) -> str:
    if cell_len(piece) <= LABEL_WIDTH:
        return set_cell_size(piece, LABEL_WIDTH)
    return set_cell_size(piece, LABEL_WIDTH - 1) + "…"
