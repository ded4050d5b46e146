"""Translations shown step by step as a server makes them, by one model of each family.

Without an address it starts a server as a child process, and stops it at the end. It knows no model by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path

from rich.console import Console

from service.client.client import Client
from service.client.errors import ModelNotFoundError
from service.client.server_process import SERVE_COMMAND, running_server
from service.client.terminal import show_line, show_steps, show_title
from service.client.types import ModelInfo

FAMILIES = ("transformer", "recurrent")
SENTENCES = (
    "Two dogs play in the snow.",
    "A man in a blue shirt is standing on a ladder cleaning a window.",
    "A little girl climbs into a wooden playhouse.",
    "Several women wait outside in a city.",
)
TIMEOUT_S = 60.0


def run_demo(console: Console, *, address: str | None = None, model_store: Path | None = None) -> None:
    """Show every sentence translated by every family; raises a StepstreamError where anything fails.

    address: HOST:PORT of a running server, or None to start one with the models of `model_store` (None: its default).
    """
    command = SERVE_COMMAND if model_store is None else (*SERVE_COMMAND, "--model-store", str(model_store))
    if address is None:
        show_line(console, "starting a server ...", style="dim")
    with nullcontext(address) if address is not None else running_server(command) as ready_address:
        show_line(console, f"server at {ready_address}", style="dim")
        with Client(ready_address) as client:
            for model in choose_models(client.list_models(timeout_s=TIMEOUT_S), ready_address):
                show_model_translating(console, client, model)
    if address is None:
        show_line(console, "server stopped", style="dim")


def choose_models(models: Sequence[ModelInfo], address: str) -> list[ModelInfo]:
    """The first model of each family; raises ModelNotFoundError where a family has none."""
    chosen = []
    for family in FAMILIES:
        first = next((model for model in models if model.family == family), None)
        if first is None:
            raise ModelNotFoundError(f"the server at {address} has no {family} model")
        chosen.append(first)
    return chosen


def show_model_translating(console: Console, client: Client, model: ModelInfo) -> None:
    """Every sentence, each step as it arrives."""
    show_line(console, "")
    show_title(console, model)
    for sentence in SENTENCES:
        show_line(console, "")
        show_line(console, f"   {sentence}", style="bold")
        with closing(client.stream(sentence, model=model.name, version=model.version, timeout_s=TIMEOUT_S)) as events:
            show_steps(console, events)
