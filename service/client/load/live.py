"""What a load test looks like in the terminal while it runs. It sends nothing."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from service.client.load.moment import Moment
from service.client.load.stage import Stage

BARS = " ▁▂▃▄▅▆▇"
HISTORY = 48


class LiveView:
    """The last seconds of the stage that runs. On what is no terminal, a line at the end of each stage and no more."""

    def __init__(self, console: Console, title: str, *, verifies: bool) -> None:
        self._console = console
        self._title = title
        self._verifies = verifies
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._stage: Stage | None = None
        self._moments: deque[Moment] = deque(maxlen=HISTORY)
        self._different = 0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()

    def begin(self, stage: Stage) -> None:
        """Another stage."""
        self._stage = stage
        self._moments.clear()

    def show(self, moment: Moment) -> None:
        """Another second of it."""
        self._moments.append(moment)
        self._different += moment.different
        if self._console.is_terminal:
            self._live.update(self.drawing(), refresh=True)

    def drawing(self) -> Panel:
        """The view as it is now."""
        assert self._stage is not None
        stage, now = self._stage, self._moments[-1]
        elapsed_s = min(now.second + 1, stage.duration_s)
        rest = "ending" if now.second + 1 > stage.duration_s else "warming up" if elapsed_s <= stage.warm_up_s else ""
        head = Table.grid(expand=True, padding=(0, 1))
        head.add_column()
        head.add_column(ratio=1)
        head.add_column(justify="right")
        head.add_row(
            Text(stage.name, style="bold"),
            ProgressBar(total=stage.duration_s, completed=elapsed_s, complete_style="cyan"),
            Text(f"{elapsed_s:.0f} of {stage.duration_s:.0f} s {rest}".rstrip()),
        )
        lines = Table.grid(expand=True, padding=(0, 1))
        lines.add_column(style="dim", width=18)
        lines.add_column(justify="right", width=12)
        lines.add_column(no_wrap=True, ratio=1)
        self._add(lines, "requests/s", "cyan", (one.ok for one in self._moments))
        self._add(lines, "good/s", "green", (one.good for one in self._moments))
        self._add(lines, "tokens/s", "cyan", (one.tokens for one in self._moments))
        self._add(lines, "in flight", "blue", (one.running for one in self._moments))
        self._add(lines, "refused/s", "yellow", (one.refused for one in self._moments))
        self._add(lines, "failed/s", "red", (one.failed for one in self._moments))
        self._add(lines, "first token p50 ms", "magenta", (one.first_token_p50_ms for one in self._moments))
        self._add(lines, "first token p99 ms", "magenta", (one.first_token_p99_ms for one in self._moments))
        self._add(lines, "whole p99 ms", "magenta", (one.total_p99_ms for one in self._moments))
        parts: list[RenderableType] = [head, Text(), lines]
        if self._verifies:
            text = f"{self._different} translations differ from the reference"
            parts += [Text(), Text(text, style="bold red" if self._different else "green")]
        return Panel(Group(*parts), title=self._title, title_align="left", border_style="dim")

    @staticmethod
    def _add(lines: Table, name: str, style: str, values: Iterable[float]) -> None:
        history = list(values)
        lines.add_row(name, Text(figure(history[-1]), style="bold"), Text(sparkline(history), style=style))


def sparkline(values: list[float]) -> str:
    """One character for each value; the highest is full, and what is not 0 is seen."""
    most = max(values, default=0.0)
    if not most:
        return BARS[0] * len(values)
    return "".join(BARS[math.ceil(value / most * (len(BARS) - 1))] for value in values)


def figure(value: float) -> str:
    """A number as people read it: three digits that matter."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
