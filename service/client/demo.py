"""Translations shown step by step as a server makes them, by models that are chosen for what they are, not by name.

Without an address it starts a server as a child process, and stops it at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path

from rich.console import Console

from service.client.client import Client
from service.client.credentials import Credentials
from service.client.drawing import show_attention
from service.client.errors import ModelNotFoundError
from service.client.server_process import SERVE_COMMAND, running_server
from service.client.terminal import show_line, show_steps, show_title
from service.client.types import ModelInfo

FAMILIES = ("transformer", "recurrent")
SOURCE_LANGUAGE, TARGET_LANGUAGE = "en", "de"
SENTENCES = ("Two dogs play in the snow.", "A little girl climbs into a wooden playhouse.")
SENTENCE_WITH_ATTENTION = "Several women wait outside in a city."
SENTENCES_OF_OTHER_TARGETS = {"ko": "Failed to save the file “%s”."}
TIMEOUT_S = 60.0


def run_demo(console: Console, *, address: str | None = None, model_store: Path | None = None) -> None:
    """Show the sentences translated by each family, one with its attention, and one in each other target language.

    Raises a StepstreamError where anything fails. address: HOST:PORT of a running server, or None to start one with
    the models of `model_store` (None: its default).
    """
    command = SERVE_COMMAND if model_store is None else (*SERVE_COMMAND, "--model-store", str(model_store))
    if address is None:
        show_line(console, "starting a server ...", style="dim")
    with nullcontext(address) if address is not None else running_server(command) as ready_address:
        show_line(console, f"server at {ready_address}", style="dim")
        with Client(ready_address, credentials=Credentials() if address is None else None) as client:
            show_models_translating(console, client)
    if address is None:
        show_line(console, "server stopped", style="dim")


def show_models_translating(console: Console, client: Client) -> None:
    """Every sentence, each step as it arrives; raises ModelNotFoundError where a family has no model."""
    models = client.list_models(timeout_s=TIMEOUT_S)
    for model in choose_models(models, client.address):
        show_line(console, "")
        show_title(console, model)
        for sentence in SENTENCES:
            show_sentence(console, client, model, sentence)
        if model.attention is not None:
            show_sentence(console, client, model, SENTENCE_WITH_ATTENTION, attention=True)
    for model in choose_other_targets(models):
        show_line(console, "")
        show_title(console, model)
        show_sentence(console, client, model, SENTENCES_OF_OTHER_TARGETS[model.target_language])


def show_sentence(
    console: Console, client: Client, model: ModelInfo, sentence: str, *, attention: bool = False
) -> None:
    """The sentence, then its translation step by step: a line for each, or what it attends to."""
    show_line(console, "")
    show_line(console, f"   {sentence}", style="bold")
    stream = client.stream(
        sentence, model=model.name, version=model.version, timeout_s=TIMEOUT_S, include_attention=attention
    )
    with closing(stream):
        if attention:
            show_attention(console, stream)
        else:
            show_steps(console, stream)


def choose_models(models: Sequence[ModelInfo], address: str) -> list[ModelInfo]:
    """One model of each family, the first of those nearest to SOURCE_LANGUAGE and TARGET_LANGUAGE.

    Raises ModelNotFoundError where a family has none.
    """
    chosen = []
    for family in FAMILIES:
        candidates = [model for model in models if model.family == family]
        if not candidates:
            raise ModelNotFoundError(f"the server at {address} has no {family} model")
        chosen.append(min(candidates, key=_distance))
    return chosen


def choose_other_targets(models: Sequence[ModelInfo]) -> list[ModelInfo]:
    """The first model from SOURCE_LANGUAGE into each language of SENTENCES_OF_OTHER_TARGETS that has one."""
    firsts: dict[str, ModelInfo] = {}
    for model in models:
        if model.source_language == SOURCE_LANGUAGE and model.target_language in SENTENCES_OF_OTHER_TARGETS:
            firsts.setdefault(model.target_language, model)
    return list(firsts.values())


def _distance(model: ModelInfo) -> tuple[bool, bool]:
    return model.source_language != SOURCE_LANGUAGE, model.target_language != TARGET_LANGUAGE
