"""What the commands show: steps, models, progress. It sends no request, and colours nothing that is not a terminal."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from service.client.retry import Retry
from service.client.types import Completion, FinishReason, ModelInfo, StepEvent, StreamEvent

PLAIN_WIDTH = 200
UNLIMITED_WIDTH = 10_000
PIECE_WIDTH = 12


def make_console(*, stderr: bool = False) -> Console:
    """A console that shows text as it is; where the output is no terminal, tables are not cut to 80 columns."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PLAIN_WIDTH
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=width)


def show_line(console: Console, text: str, *, style: str | None = None) -> None:
    """One line, never wrapped."""
    console.print(Text(text, style=style or ""), soft_wrap=True)


def show_delta(console: Console, text: str) -> None:
    """A piece of text that goes on where the last one ended, visible at once."""
    console.print(Text(text), end="", soft_wrap=True)


def show_step(console: Console, step: StepEvent, text: str) -> None:
    """One line: index, piece, log-probability, the most attended source piece if there is one, the text so far.

    A second one with the candidates, if there are any.
    """
    line = Text()
    line.append(f"{step.index:>4}  ", style="dim")
    line.append(padded(step.piece), style="bold cyan")
    line.append(f"  {step.log_probability:>8.4f}", style=confidence_style(step.log_probability))
    if step.most_attended is not None:
        piece, weight = step.most_attended
        line.append(f"  {padded(piece)} {weight:.2f}", style="magenta")
    line.append(f"  {text}")
    console.print(line, soft_wrap=True)
    if step.candidates:
        candidates = (f"{candidate.piece} {candidate.log_probability:.4f}" for candidate in step.candidates)
        show_line(console, f"      of {'  '.join(candidates)}", style="dim")


def show_steps(
    console: Console,
    events: Iterable[StreamEvent],
    show: Callable[[Console, StepEvent, str], None] = show_step,
) -> None:
    """Each step as it arrives, then the whole translation with the times that this side's clock took.

    show: draws one step, given the text up to it.
    """
    text = ""
    first_token_ms: float | None = None
    start_s = time.perf_counter()
    for event in events:
        elapsed_ms = (time.perf_counter() - start_s) * 1000
        match event:
            case StepEvent():
                first_token_ms = elapsed_ms if first_token_ms is None else first_token_ms
                text += event.text_delta
                show(console, event, text)
            case Completion():
                show_completion(console, event, first_token_ms=first_token_ms, total_ms=elapsed_ms)


def show_retry(retry: Retry) -> None:
    """A line on stderr: the translation goes on at another server, or is asked for again."""
    if retry.num_tokens:
        text = f"-- the server was lost after {retry.num_tokens} tokens; continuing on another"
    else:
        text = f"-- trying again: {retry.reason}"
    show_line(make_console(stderr=True), text, style="dim")


def show_completion(console: Console, completion: Completion, *, first_token_ms: float | None, total_ms: float) -> None:
    """The whole translation, then one line of figures."""
    show_line(console, f"   => {completion.text}", style="bold green")
    parts = [f"{completion.num_target_tokens} steps"]
    if first_token_ms is not None:
        parts.append(f"first token {first_token_ms:.1f} ms")
    parts += [f"total {total_ms:.1f} ms", f"log-probability {completion.log_probability:.4f}"]
    if completion.finish_reason is not FinishReason.END_OF_SENTENCE:
        parts.append(f"ended by {completion.finish_reason.value}")
    show_line(console, f"      {', '.join(parts)}", style="dim")


def show_title(console: Console, model: ModelInfo) -> None:
    """One line that says which model the lines below come from."""
    details = (model.family, _languages(model), model.precision, model.execution_provider)
    show_line(console, f"{model.name} version {model.version}: {', '.join(details)}", style="bold")


def show_models(console: Console, models: Sequence[ModelInfo]) -> None:
    """A table, one row for each version; a terminal that is too narrow wraps its lines, and nothing is cut off."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold underline")
    for heading in ("model", "version", "languages", "family", "precision", "runs on", "limits", "attention"):
        table.add_column(heading, no_wrap=True)
    for model in models:
        provider = model.execution_provider.removesuffix("ExecutionProvider")
        limits = f"{model.max_source_length}/{model.max_target_length}"
        architecture = model.family, model.precision, provider, limits, model.attention or "none"
        table.add_row(*map(Text, (model.name, str(model.version), _languages(model), *architecture)))
    table.width = console.measure(table, options=console.options.update(max_width=UNLIMITED_WIDTH)).maximum
    console.print(table, crop=False)
    show_line(console, "limits: longest source and target in tokens, the end of the sentence included", style="dim")


def show_model(console: Console, model: ModelInfo) -> None:
    """All that is known about one version, its certificate last."""
    details = {
        "model": model.name,
        "version": str(model.version),
        "languages": _languages(model),
        "family": model.family,
        "attention": model.attention or "none",
        "precision": model.precision,
        "execution provider": model.execution_provider,
        "longest source": f"{model.max_source_length} tokens",
        "longest target": f"{model.max_target_length} tokens",
        **({"languages from": ", ".join(model.source_languages)} if len(model.source_languages) > 1 else {}),
        **({"languages to": ", ".join(model.target_languages)} if len(model.target_languages) > 1 else {}),
    }
    for name, value in details.items():
        show_line(console, f"{name:<20}{value}")
    if not model.certificate_json:
        show_line(console, f"{'certificate':<20}none")
        return
    show_line(console, "certificate")
    try:
        console.print_json(model.certificate_json, indent=2)
    except ValueError:
        show_line(console, model.certificate_json)


@contextmanager
def file_progress(num_bytes: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, if that is a terminal. The block tells it the bytes of each finished line.

    num_bytes 0: a length nobody knows.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.fields[num_lines]} lines"),
        BarColumn(),
        TaskProgressColumn(show_speed=False),
        TextColumn("{task.fields[rate]:.0f} lines/s"),
    )
    console = make_console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=num_bytes or None, num_lines=0, rate=0.0)
        num_lines = 0

        def advance(line_bytes: int) -> None:
            nonlocal num_lines
            num_lines += 1
            elapsed_s = progress.tasks[0].elapsed or math.inf
            progress.update(bar, advance=line_bytes, num_lines=num_lines, rate=num_lines / elapsed_s)

        yield advance


def _languages(model: ModelInfo) -> str:
    return f"{model.source_language} -> {model.target_language}"


def padded(piece: str) -> str:
    """The piece, filled up with blanks to the width of a column."""
    return piece + " " * (PIECE_WIDTH - Text(piece).cell_len)


def confidence_style(log_probability: float) -> str:
    """A colour for a probability."""
    return "green" if log_probability > math.log(0.5) else "yellow" if log_probability > math.log(0.1) else "red"
