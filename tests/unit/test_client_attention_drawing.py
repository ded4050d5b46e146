"""The drawing in the terminal: when rows appear, where their cells are, what fits."""

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from service.client.drawing import LABEL_WIDTH, LEFT_WIDTH, show_attention
from service.client.errors import ServerError
from service.client.types import Completion, FinishReason, StepEvent, Timings

KOREAN = ("▁“", "%s", "”", "▁파일을", "▁저장", "하지", "▁못했", "습니다", ".", "</s>")
ENGLISH = ("▁Failed", "▁to", "▁save", "▁the", "▁file", "▁“", "%s", "”", ".", "</s>")
SENTENCE = "A man in a blue shirt is standing on a ladder cleaning windows"
LONG = tuple(f"▁{word}" for word in SENTENCE.split() * 2)


def attending_to_one(source, target):
    """Each target piece attends to the source piece at its own place, and a little to all others."""
    for place, piece in enumerate(target):
        others = 0.1 / (len(source) - 1)
        row = tuple(0.9 if column == place % len(source) else others for column in range(len(source)))
        yield StepEvent(place, place, piece, "", -0.5, source, row)


def completion():
    return Completion("text", FinishReason.END_OF_SENTENCE, -1.0, 1, 1, Timings(0.0, 0.0, 0.0), 1)


def draw(events, *, width, **options):
    """The lines of legend, head and rows."""
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False, **options)
    show_attention(console, [*events, completion()])
    lines = console.file.getvalue().splitlines()
    return lines[: next(place for place, line in enumerate(lines) if "=> text" in line)]


def in_cells(line):
    """One character for each cell of the terminal; the second cell of a wide character is empty."""
    cells = []
    for character in line:
        width = cell_len(character)
        if width == 0:
            cells[-1] += character
        else:
            cells += [character, *[""] * (width - 1)]
    return cells


def places_of(text, line):
    cells = in_cells(line)
    return next(
        range(start, start + cell_len(text))
        for start in range(len(cells))
        if "".join(cells[start : start + cell_len(text)]) == text
    )


def test_the_head_is_there_with_the_first_row_and_each_row_before_the_next_step():
    console = Console(file=io.StringIO(), width=80)
    counts = []

    def events():
        for step in attending_to_one(ENGLISH, ("▁eins", "▁zwei", "</s>")):
            yield step
            counts.append(console.file.getvalue().count("\n"))
            assert step.piece in console.file.getvalue().splitlines()[-1]

    show_attention(console, events())
    assert counts == [3, 4, 5]


@pytest.mark.parametrize(("source", "target"), [(ENGLISH, KOREAN), (KOREAN, ENGLISH)])
def test_cells_are_exactly_under_their_words(source, target):
    _, head, *rows = draw(attending_to_one(source, target), width=80)
    words = head.split()
    owners = {"Failed": 0, "to": 1, "save": 2, "the": 3, "file": 4, "</s>": 9} if source == ENGLISH else {"파일을": 3}
    for word, row in owners.items():
        assert word in words
        places = places_of(word, head)
        cells = in_cells(rows[row])
        assert "".join(cells[places.start : places.stop]) == "█" * len(places)
        assert "█" not in cells[: places.start] + cells[places.stop :]


def test_pieces_of_one_word_are_one_column():
    _, head, *rows = draw(attending_to_one(ENGLISH, ENGLISH), width=80)
    places = places_of("“%s”.", head)
    assert [row for row, line in enumerate(rows) if in_cells(line)[places.start : places.stop] == ["█"] * 5] == [
        5,
        6,
        7,
        8,
    ]


def test_combining_marks_take_no_cell():
    source = ("▁cafe\u0301", "▁x", "</s>")
    _, head, *rows = draw(attending_to_one(source, ("▁e\u0301", "▁y", "</s>")), width=80)
    assert head[LEFT_WIDTH:] == "cafe\u0301 x </s>"
    assert [in_cells(line).index("█") for line in rows] == [LEFT_WIDTH, LEFT_WIDTH + 5, LEFT_WIDTH + 7]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("source", [ENGLISH, KOREAN, LONG])
def test_no_line_is_wider_than_the_console(source, width):
    for target in (ENGLISH, KOREAN):
        assert max(map(cell_len, draw(attending_to_one(source, target), width=width))) <= width


@pytest.mark.parametrize(
    ("source", "width", "lines"),
    [
        (("▁standing", "▁on", "▁ladder", "</s>"), 23, ["standing on ladder </s>", "████████ ·    ·     ·"]),
        (("▁standing", "▁on", "▁ladder", "</s>"), 22, ["standin", "g       on ladder </s>", "███████ ·    ·     ·"]),
        (("▁standing", "▁on", "▁ladder", "</s>"), 17, ["stan    ladd", "ding on er   </s>", "████ ·   ·    ·"]),
        (("▁파일을", "▁on", "</s>"), 14, ["파일을 on </s>", "██████ ·   ·"]),
        (("▁파일을", "▁on", "</s>"), 13, ["파일", "을    on </s>", "█████ ·   ·"]),
        (("▁파일을", "▁on", "</s>"), 12, ["파일", "을   on </s>", "████ ·   ·"]),
        (("▁파일을", "▁on", "</s>"), 8, ["파", "일    </", "을 on s>", "██ ·  ·"]),
    ],
)
def test_a_word_wider_than_its_column_goes_on_in_the_next_line(source, width, lines):
    weights = (0.9, *(0.01 for _ in source[1:]))
    step = StepEvent(0, 0, "▁x", "", -0.5, source, weights)
    drawn = draw([step], width=LEFT_WIDTH + width)[1:]
    assert [line[LEFT_WIDTH:] for line in drawn] == lines


def test_too_many_words_for_the_console_become_a_list_of_the_greatest():
    legend, *rows = draw(attending_to_one(LONG, ("▁x", "▁y")), width=60)
    assert [row.split() for row in rows] == [["▁x", "█", "A", "0.90"], ["▁y", "█", "man", "0.90"]]
    assert "█" in legend
    step = StepEvent(0, 0, "▁x", "", -0.5, LONG, (0.05, 0.5, 0.0, 0.2, 0.25) + (0.0,) * (len(LONG) - 5))
    assert draw([step], width=60)[1].split()[1:] == ["▓", "man", "0.50", "▒", "blue", "0.25", "░", "a", "0.20"]
    assert draw([step], width=40)[1].split()[1:] == ["▓", "man", "0.50", "▒", "blue", "0.25"]
    assert draw([step], width=20)[1].split()[1:] == ["▓", "man", "0.50"]


def test_soft_hard_and_local_attention_differ_in_the_cells_beside_the_greatest():
    source = ("▁a", "▁b", "▁c", "▁d", "▁e")
    rows = [(0.02, 0.2, 0.3, 0.5, 0.98), (0.0, 1.0, 0.0, 0.0, 0.0), (0.0, 0.3, 0.68, 0.02, 0.0)]
    steps = [StepEvent(place, 0, "▁x", "", -0.5, source, row) for place, row in enumerate(rows)]
    assert [line[LEFT_WIDTH:] for line in draw(steps, width=80)[2:]] == ["· ░ ▒ ▓ █", "  █", "  ▒ ▓ ·"]


def test_it_is_the_same_with_colour_and_without():
    steps = list(attending_to_one(KOREAN, ENGLISH))
    coloured = draw(steps, width=80, force_terminal=True, color_system="truecolor", legacy_windows=False)
    plain = draw(steps, width=80)
    assert "\x1b[" not in "".join(plain)
    assert all("\x1b[" in line for line in coloured)
    assert [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in coloured] == plain


def test_a_long_piece_is_cut_and_the_cells_stay_in_their_columns():
    steps = list(attending_to_one(("▁a", "</s>"), ("▁" + "가" * 9, "▁kurz")))
    _, _, long, short = draw(steps, width=80)
    assert "…" in long
    assert "…" not in short
    assert in_cells(long)[LEFT_WIDTH] == "█"
    assert in_cells(short)[LEFT_WIDTH + 2] == "█"
    assert cell_len(long[: long.index("…") + 1]) <= LEFT_WIDTH - 2 == 3 + LABEL_WIDTH


def test_a_server_that_sends_no_attention_is_an_error():
    with pytest.raises(ServerError, match="0 attention weights"):
        draw([StepEvent(0, 0, "▁x", "", -0.5)], width=80)
