"""The translation as it grows: what a small terminal shows after each event, and what a pipe gets."""

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from service.client.errors import ServerError
from service.client.live import show_growing_text
from service.client.types import Completion, FinishReason, StepEvent, TentativeEvent, Timings

PARTS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|.", re.DOTALL)


class Screen:
    """A terminal that knows what rich writes: text that wraps, line ends, cursor up, erased lines, dim and plain."""

    def __init__(self, written, width):
        self.rows = [[]]
        self.row = self.column = 0
        self.dim = False
        for part in PARTS.findall(written):
            match part:
                case "\r":
                    self.column = 0
                case "\n":
                    self.row, self.column = self.row + 1, 0
                case "\x1b[1A":
                    self.row -= 1
                case "\x1b[2K":
                    self.rows[self.row].clear()
                case "\x1b[2m" | "\x1b[0m":
                    self.dim = part == "\x1b[2m"
                case "\x1b[?25h" | "\x1b[?25l":
                    pass
                case _:
                    assert part.isprintable()
                    self.put(part, width)
            assert self.row >= 0
            self.rows += [[] for _ in range(self.row + 1 - len(self.rows))]

    def put(self, character, width):
        if self.column + cell_len(character) > width:
            self.row, self.column = self.row + 1, 0
            self.rows += [[]]
        row = self.rows[self.row]
        row += [(" ", False)] * (self.column - len(row))
        cells = [(character, self.dim), *[("", self.dim)] * (cell_len(character) - 1)]
        row[self.column : self.column + len(cells)] = cells
        self.column += len(cells)

    def text(self, *, dim):
        lines = ("".join(character for character, is_dim in row if is_dim == dim).strip() for row in self.rows)
        return " ".join(line for line in lines if line)


def step(index, delta):
    return StepEvent(index, index, delta, delta, -0.5)


def tentative(text):
    return TentativeEvent(text, (), 0)


def completion(text):
    return Completion(text, FinishReason.END_OF_SENTENCE, -1.0, 1, 1, Timings(0.0, 0.0, 0.0), 1)


def show(events, *, width=40, **options):
    """All that was written, and what was written when each event had been shown."""
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False, **options)
    written = []

    def watched():
        for event in events:
            yield event
            written.append(console.file.getvalue())

    show_growing_text(console, watched())
    return console.file.getvalue(), written


def show_in_a_terminal(events, *, width=40, **options):
    written, after_each = show(
        events, width=width, force_terminal=True, color_system="truecolor", legacy_windows=False, **options
    )
    return Screen(written, width), [Screen(part, width) for part in after_each]


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")


SEARCH = [
    tentative("Zwei Katzen"),
    step(0, "Zwei"),
    tentative(" Hunde spielen in dem Schnee vor dem Haus"),
    step(1, " Hunde"),
    step(2, " spielen"),
    tentative(" draußen"),
    step(3, " im"),
    tentative(""),
    step(4, " Schnee"),
    completion("Zwei Hunde spielen im Schnee"),
]


@pytest.mark.parametrize("width", [80, 24, 15])
def test_a_terminal_shows_what_is_tentative_dim_after_what_is_settled_and_rewrites_it(width):
    _, after_each = show_in_a_terminal(SEARCH, width=width)
    assert [(screen.text(dim=False), screen.text(dim=True)) for screen in after_each] == [
        ("", "Zwei Katzen"),
        ("Zwei", "Katzen"),
        ("Zwei", "Hunde spielen in dem Schnee vor dem Haus"),
        ("Zwei Hunde", "spielen in dem Schnee vor dem Haus"),
        ("Zwei Hunde spielen", "in dem Schnee vor dem Haus"),
        ("Zwei Hunde spielen", "draußen"),
        ("Zwei Hunde spielen im", ""),
        ("Zwei Hunde spielen im", ""),
        ("Zwei Hunde spielen im Schnee", ""),
        ("Zwei Hunde spielen im Schnee", ""),
    ]


def test_at_the_end_a_terminal_shows_the_translation_once_and_breaks_no_line():
    last, _ = show_in_a_terminal(SEARCH, width=15)
    lines = ["".join(character for character, _ in row) for row in last.rows]
    assert "".join(lines) == "Zwei Hunde spielen im Schnee"
    assert last.text(dim=True) == ""
    assert [len(line) for line in lines[:2]] == [15, 13]


def test_the_cursor_is_shown_again():
    written, _ = show(SEARCH, force_terminal=True, legacy_windows=False)
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")


def test_an_error_leaves_what_is_settled_and_takes_what_is_tentative_away():
    def broken():
        yield step(0, "Zwei")
        yield tentative(" Katzen")
        raise ServerError("gone")

    console = Console(file=io.StringIO(), width=40, force_terminal=True, legacy_windows=False)
    with pytest.raises(ServerError, match="gone"):
        show_growing_text(console, broken())
    screen = Screen(console.file.getvalue(), 40)
    assert (screen.text(dim=False), screen.text(dim=True), screen.column) == ("Zwei", "", 0)


@pytest.mark.parametrize("options", [{}, {"force_terminal": True, "_environ": {"TERM": "dumb"}}])
def test_a_pipe_and_a_terminal_that_cannot_rewrite_get_what_is_settled_as_it_comes_and_nothing_else(options):
    written, after_each = show(SEARCH, **options)
    assert written == "Zwei Hunde spielen im Schnee\n"
    assert after_each == [
        "",
        "Zwei",
        "Zwei",
        "Zwei Hunde",
        *["Zwei Hunde spielen"] * 2,
        *["Zwei Hunde spielen im"] * 2,
        *["Zwei Hunde spielen im Schnee"] * 2,
    ]


@pytest.mark.parametrize("options", [{}, {"force_terminal": True, "legacy_windows": False}])
def test_an_empty_translation_is_an_empty_line_and_no_event_is_nothing(options):
    assert Screen(show([completion("")], **options)[0], 40).row == 1
    assert Screen(show([], **options)[0], 40).row == 0


@pytest.mark.parametrize("text", ["[bold]a[/bold] :smile:", "눈이 옵니다"])
def test_a_terminal_shows_text_as_it_is(text):
    last, (first, _) = show_in_a_terminal([step(0, text), completion(text)])
    assert first.text(dim=False) == last.text(dim=False) == text
