"""A translation as it grows: appended to a pipe, rewritten in place in a terminal, where its unsettled end is dim."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.live import Live
from rich.text import Text

from service.client.terminal import show_delta, show_line
from service.client.types import Completion, StepEvent, StreamEvent, TentativeEvent


def show_growing_text(console: Console, events: Iterable[StreamEvent]) -> None:
    """The text of each event as it arrives, then the end of the line, also where the events end with an error."""
    if console.is_terminal and not console.is_dumb_terminal:
        _rewrite(console, events)
    else:
        _append(console, events)


def _append(console: Console, events: Iterable[StreamEvent]) -> None:
    line_is_open = False
    try:
        for event in events:
            match event:
                case StepEvent():
                    line_is_open = True
                    show_delta(console, event.text_delta)
                case Completion():
                    line_is_open = True
    finally:
        if line_is_open:
            show_line(console, "")


def _rewrite(console: Console, events: Iterable[StreamEvent]) -> None:
    settled = tentative = ""
    line_is_open = False
    live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False)
    try:
        with live:
            for event in events:
                line_is_open = True
                match event:
                    case StepEvent():
                        settled += event.text_delta
                        tentative = _after(event.text_delta, tentative)
                    case TentativeEvent():
                        tentative = event.text
                live.update(Text(settled).append(tentative, style="dim"), refresh=True)
    finally:
        if line_is_open:
            show_line(console, settled)


def _after(settled: str, tentative: str) -> str:
    """What stays tentative when its beginning is settled, so that nothing flickers where it was right."""
    return tentative.removeprefix(settled) if tentative.startswith(settled) else ""
