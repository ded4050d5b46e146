"""What a load test shows in the terminal, and on its page."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from service.client.load.fleet import Played
from service.client.load.live import LiveView, figure, sparkline
from service.client.load.moment import moment_of
from service.client.load.page import page_of
from service.client.load.report import Results, report_of
from service.client.load.scales import linear, logarithmic, percentiles
from service.client.load.scenario import Scenario, Targets
from service.client.load.stage import Stage
from service.client.load.summary import show_summary
from service.client.load.tally import OK, Outcome, Second, Tally

STAGE = Stage("20 a second", 10.0, 2.0, arrivals=(0.0,), rate=20.0)


def shown(console_width: int, *, is_terminal: bool = True) -> Console:
    return Console(file=io.StringIO(), width=console_width, force_terminal=is_terminal, color_system=None)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def moment(number: int, *, num_different: int = 0) -> Any:
    second = Second(number, num_due=20, num_tokens=1234, num_running=3, num_different=num_different)
    second.end(Outcome(0, 0.0, 0.0, [0.0125], 0.5, OK), Targets())
    second.first_token.record(0.0125)
    return moment_of([second])


def report(*differences: str) -> dict[str, Any]:
    tally = Tally()
    outcome = Outcome(0, 0.0, 0.001, [0.1, 0.2], 0.3, OK, is_verified=True)
    for difference in differences or ("",):
        outcome.difference = difference
        tally.verify(outcome)
        tally.record(outcome, Targets())
    results = Results(Scenario(), ["m <i>"], played=[Played(STAGE, tally, [moment(0), moment(1)])])
    return report_of(results)


def test_the_view_shows_the_second_that_was_and_those_before() -> None:
    console = shown(90)
    with LiveView(console, "stepstream load", verifies=True) as view:
        view.begin(STAGE)
        view.show(moment(1))
        assert "warming up" in text_of(console)
        view.show(moment(2, num_different=2))
    text = text_of(console)
    for words in ("20 a second", "3 of 10 s", "1,234", "12.5", "2 translations differ from the reference", "▇▇"):
        assert words in text


def test_what_is_no_terminal_is_not_drawn_on() -> None:
    console = shown(90, is_terminal=False)
    with LiveView(console, "stepstream load", verifies=False) as view:
        view.begin(STAGE)
        view.show(moment(1))
    assert text_of(console) == ""


def test_a_sparkline_shows_what_is_small_and_what_is_nothing() -> None:
    assert sparkline([0, 0]) == "  "
    assert sparkline([0, 0.001, 50, 100]) == " ▁▄▇"
    assert [figure(value) for value in (0, 7, 0.123, 12.34, 123.4, 12345.6)] == [
        "0",
        "7",
        "0.12",
        "12.3",
        "123",
        "12,346",
    ]


def test_the_summary_fits_a_terminal_of_80_columns() -> None:
    console = shown(80)
    show_summary(console, report())
    lines = text_of(console).splitlines()
    assert lines[0].split() == ["sent", "ok", "good", "refused", "failed", "ok/s", "good/s", "tokens/s"]
    assert max(map(len, lines)) <= 80
    assert "100 / 100" in text_of(console)


def test_what_a_server_sent_is_text_on_the_page_and_nothing_else() -> None:
    page = page_of(report("<script>alert(1)</script>: the text is '<b>'"))
    assert "<script" not in page
    assert "<b>'" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


@pytest.mark.parametrize(
    ("scale", "labels", "places"),
    [
        (linear(0, 730), ["0", "200", "400", "600", "800"], {0: 0.0, 400: 0.5, 800: 1.0}),
        (linear(0, 0), ["0", "0.2", "0.4", "0.6", "0.8", "1"], {0: 0.0, 1: 1.0}),
        (logarithmic(0.5, 90), ["0.1", "1", "10", "100"], {0.1: 0.0, 1: 1 / 3, 100: 1.0}),
        (logarithmic(10, 10), ["10", "100"], {10: 0.0, 100: 1.0}),
        (percentiles(99.9), ["0%", "50%", "90%", "99%", "99.9%"], {0: 0.0, 90: 1 / 3, 99: 2 / 3, 99.9: 1.0}),
    ],
)
def test_an_axis_has_round_ticks_around_its_values(scale: Any, labels: list[str], places: dict[float, float]) -> None:
    assert [label for _, label in scale.ticks] == labels
    assert {value: scale.place(value) for value in places} == pytest.approx(places)
