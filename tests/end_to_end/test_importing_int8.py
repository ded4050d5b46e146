"""A model of transformers, imported in 8 bits: the certificate says what that costs, a model whose tokens are near each
other is refused, and one that is sure of its tokens still makes those that transformers makes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from export.cli import main
from export.hf.original import translate
from export.imports.original import Ask
from service.client.client import AsyncClient
from service.client.options import DecodingOptions
from service.client.server_process import SERVE_COMMAND, running_server
from service.client.types import Completion, StepEvent
from service.model.certificate import read_certificate
from tests.hf_models import MAKERS, SENTENCES

KINDS = ("marian", "t5")
LENGTH = 24


def learn(folder: Path) -> None:
    """Train a model until it says SENTENCES in place of each other."""
    torch.manual_seed(0)
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(0.5)
    targets = tokenizer(text_target=[*SENTENCES[1:], SENTENCES[0]], padding=True, return_tensors="pt").input_ids
    batch = tokenizer(list(SENTENCES), padding=True, return_tensors="pt")
    start = torch.full((len(targets), 1), model.generation_config.decoder_start_token_id)
    batch["decoder_input_ids"] = torch.cat([start, targets[:, :-1]], 1)
    batch["labels"] = targets.where(targets != tokenizer.pad_token_id, -100)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(400):
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.01:
            break
    model.save_pretrained(folder)


def command(folder: Path, store: Path) -> list[str]:
    sentences = store.with_suffix(".txt")
    sentences.write_text("\n".join(SENTENCES))
    return [
        *("import", "hf", str(folder), "--model-store", str(store), "--max-length", "48"),
        *("--sentences", str(sentences), "--precision", "int8"),
    ]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("originals")
    folders = {kind: MAKERS[kind](root / kind) for kind in KINDS}
    for folder in folders.values():
        learn(folder)
    return folders


@pytest.fixture(scope="module")
def store(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("imported")
    for folder in folders.values():
        assert main(command(folder, store)) == 0
    return store


@pytest.mark.parametrize("kind", KINDS)
def test_the_certificate_says_what_8_bits_cost(store: Path, kind: str) -> None:
    certificate = read_certificate(store / kind / "1" / "certificate.json")
    assert certificate.quantization is not None
    assert certificate.quantization.num_tokens >= 60
    assert certificate.original is not None
    assert certificate.original.greedy.num_identical == certificate.original.greedy.num_sentences == len(SENTENCES)


async def test_every_token_is_that_of_transformers(store: Path, folders: dict[str, Path]) -> None:
    with running_server((*SERVE_COMMAND, "--model-store", str(store))) as address:
        async with AsyncClient(address) as client:
            for kind, folder in folders.items():
                originals = translate(folder, [Ask(text) for text in SENTENCES], max_length=LENGTH, beam_size=4)
                for text, original in zip(SENTENCES, originals, strict=True):
                    events = [
                        event
                        async for event in client.stream(text, model=kind, options=DecodingOptions(max_length=LENGTH))
                    ]
                    assert [event.token_id for event in events if isinstance(event, StepEvent)] == list(original.greedy)
                    assert isinstance(events[-1], Completion)
                    assert events[-1].text == original.text


def test_a_model_that_8_bits_would_change_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Random weights: one token is hardly likelier than the next."""
    assert main(command(MAKERS["marian"](tmp_path / "unsure"), tmp_path / "store")) != 0
    assert "the 8-bit form flips" in capsys.readouterr().err
    assert not (tmp_path / "store" / "unsure").exists()
