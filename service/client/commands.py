"""What `stepstream translate` and `stepstream models` do. It parses no arguments."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from rich.console import Console

from service.client.client import AsyncClient, Client
from service.client.errors import ModelNotFoundError
from service.client.files import translate_file
from service.client.terminal import (
    file_progress,
    show_delta,
    show_line,
    show_model,
    show_models,
    show_steps,
)
from service.client.types import Completion, ModelInfo, StepEvent

LIST_TIMEOUT_S = 10.0


def translate_text_command(
    console: Console,
    address: str,
    text: str,
    *,
    model: str | None,
    version: int = 0,
    max_length: int = 0,
    steps: bool = False,
    attention: bool = False,
) -> None:
    """Stream one translation to the terminal: the text as it grows, or a line for each step."""
    with Client(address) as client:
        name = model or only_model(client.list_models(timeout_s=LIST_TIMEOUT_S), address)
        stream = client.stream(text, model=name, version=version, max_length=max_length, include_attention=attention)
        with closing(stream):
            if steps or attention:
                show_steps(console, stream)
            else:
                _show_growing_text(console, stream)


def translate_file_command(
    address: str,
    source: Path,
    target: Path,
    *,
    model: str | None,
    version: int = 0,
    max_length: int = 0,
    concurrency: int = 16,
) -> None:
    """Translate a file with a progress bar on stderr."""
    num_bytes = source.stat().st_size

    async def translate() -> None:
        async with AsyncClient(address) as client:
            name = model or only_model(await client.list_models(timeout_s=LIST_TIMEOUT_S), address)
            with file_progress(num_bytes) as on_line:
                await translate_file(
                    client,
                    source,
                    target,
                    model=name,
                    version=version,
                    max_length=max_length,
                    concurrency=concurrency,
                    on_line=on_line,
                )

    asyncio.run(translate())


def models_command(console: Console, address: str, *, model: str | None, version: int = 0) -> None:
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


def _show_growing_text(console: Console, events: Iterable[StepEvent | Completion]) -> None:
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
