"""What `stepstream translate`, `stepstream score` and `stepstream models` do. It parses no arguments."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from rich.console import Console

from service.client.client import AsyncClient, Client
from service.client.drawing import show_attention
from service.client.errors import InvalidRequestError, ModelNotFoundError, PlotUnavailableError
from service.client.files import translate_file
from service.client.live import show_growing_text
from service.client.options import GREEDY, DecodingOptions
from service.client.results import show_hypotheses, show_scored_target
from service.client.retry import RETRY, RetryPolicy
from service.client.terminal import file_progress, show_model, show_models, show_retry, show_steps
from service.client.types import Completion, ModelInfo, StepEvent, StreamEvent
from service.client.versions import Version
from service.client.words import word_attention

LIST_TIMEOUT_S = 10.0
PLOT_SUFFIXES = (".png", ".svg", ".pdf")


def translate_text_command(
    console: Console,
    address: str,
    text: str,
    *,
    model: str | None,
    version: Version = 0,
    options: DecodingOptions = GREEDY,
    retry: RetryPolicy = RETRY,
    steps: bool = False,
    attention: bool = False,
    attention_plot: Path | None = None,
) -> None:
    """Stream one translation to the terminal: the text as it grows, a line for each step, or the attention drawn.

    At the end come the hypotheses, where several were asked for, and the places of the terms. Beside a line for each
    step, stderr tells of each time that another server goes on.

    attention_plot: a file with one of PLOT_SUFFIXES for a picture of the attention between words. Where a picture is
    asked for, raises before anything is translated: InvalidRequestError for an empty text, OSError for a place that no
    file can have, PlotUnavailableError where matplotlib is missing.
    """
    if attention_plot is not None and not text.strip():
        raise InvalidRequestError("an empty text has no attention to draw")
    save_plot = None if attention_plot is None else _plotter(attention_plot)
    include_attention = attention or attention_plot is not None
    seen: list[StreamEvent] = []
    with Client(address, retry=retry, on_retry=show_retry if steps else None) as client:
        name = model or only_model(client.list_models(timeout_s=LIST_TIMEOUT_S), address)
        stream = client.stream(text, model=name, version=version, options=options, include_attention=include_attention)
        with closing(stream):
            _show(console, _remembered(stream, seen), steps=steps, attention=attention)
    for event in seen:
        if isinstance(event, Completion):
            show_hypotheses(console, event, options)
    if save_plot is not None:
        save_plot(name, seen)


def translate_file_command(
    address: str,
    source: Path,
    target: Path,
    *,
    model: str | None,
    version: Version = 0,
    options: DecodingOptions = GREEDY,
    retry: RetryPolicy = RETRY,
    concurrency: int = 16,
) -> None:
    """Translate a file with a progress bar on stderr."""
    num_bytes = source.stat().st_size

    async def translate() -> None:
        async with AsyncClient(address, retry=retry) as client:
            name = model or only_model(await client.list_models(timeout_s=LIST_TIMEOUT_S), address)
            with file_progress(num_bytes) as on_line:
                await translate_file(
                    client,
                    source,
                    target,
                    model=name,
                    version=version,
                    options=options,
                    concurrency=concurrency,
                    on_line=on_line,
                )

    asyncio.run(translate())


def score_command(
    console: Console, address: str, source: str, target: str, *, model: str | None, version: Version = 0
) -> None:
    """Show the log-probability of each token of a given translation, and their sum."""
    with Client(address) as client:
        name = model or only_model(client.list_models(timeout_s=LIST_TIMEOUT_S), address)
        (scored,) = client.score([(source, target)], model=name, version=version)
    show_scored_target(console, scored)


def models_command(console: Console, address: str, *, model: str | None, version: Version = 0) -> None:
    """The table of all models, or the details of one."""
    with Client(address) as client:
        if model is None:
            show_models(console, client.list_models(timeout_s=LIST_TIMEOUT_S))
        else:
            show_model(console, client.get_model(model, version=version, timeout_s=LIST_TIMEOUT_S))


def only_model(models: Sequence[ModelInfo], address: str) -> str:
    """The name of the server's one model; raises ModelNotFoundError where it has none or several."""
    names = sorted({model.name for model in models})
    if not names:
        raise ModelNotFoundError(f"the server at {address} has no model")
    if len(names) > 1:
        raise ModelNotFoundError(f"choose a model with --model: the server at {address} has {', '.join(names)}")
    return names[0]


def _show(console: Console, events: Iterable[StreamEvent], *, steps: bool, attention: bool) -> None:
    if steps:
        show_steps(console, events)
    elif attention:
        show_attention(console, events)
    else:
        show_growing_text(console, events)


def _remembered(events: Iterable[StreamEvent], seen: list[StreamEvent]) -> Iterator[StreamEvent]:
    for event in events:
        seen.append(event)
        yield event


def _plotter(path: Path) -> Callable[[str, Sequence[StreamEvent]], None]:
    """Saves the attention of a model's whole stream as a picture."""
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    try:
        from service.client.plot import save_attention_plot
    except ModuleNotFoundError:
        raise PlotUnavailableError(
            "a picture of the attention needs matplotlib: pip install 'stepstream[plot]'"
        ) from None

    def save(model: str, events: Sequence[StreamEvent]) -> None:
        attention = word_attention([event for event in events if isinstance(event, StepEvent)])
        for event in events:
            if isinstance(event, Completion):
                title = f"{model} version {event.version}"
                save_attention_plot(path, attention, title=title, translation=event.text)

    return save
