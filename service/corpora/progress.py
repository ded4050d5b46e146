"""Shows how far a corpus is: lines, tokens a second, and how long the rest will take."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

from service.client.terminal import make_console, show_line
from service.corpora.shards import Record

SPEED_WINDOW_S = 600.0


@contextmanager
def corpus_progress(*, num_lines: int, num_done: int) -> Iterator[Callable[[Record], None]]:
    """A bar on stderr, if that is a terminal; num_done lines of num_lines were done before. The block tells it of each
    shard that is done."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} lines"),
        BarColumn(),
        TaskProgressColumn(show_speed=False),
        TextColumn("{task.fields[rate]:,.0f} tokens/s"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    console = make_console(stderr=True)
    with Progress(
        *columns, console=console, disable=not console.is_terminal, speed_estimate_period=SPEED_WINDOW_S
    ) as progress:
        bar = progress.add_task("", total=num_lines, completed=num_done, rate=0.0)
        num_tokens = 0

        def advance(record: Record) -> None:
            nonlocal num_tokens
            num_tokens += record.num_tokens
            elapsed_s = progress.tasks[0].elapsed or math.inf
            progress.update(bar, advance=record.num_lines, rate=num_tokens / elapsed_s)

        yield advance


def show_summary(text: str) -> None:
    """One line on stdout."""
    show_line(make_console(), text)
