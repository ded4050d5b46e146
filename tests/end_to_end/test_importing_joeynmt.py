"""Models that JoeyNMT's own build_model makes, imported by the command and served, translate token for token as JoeyNMT
does: alone and among each other. They are left out where JoeyNMT is not installed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from export.cli import main
from export.imports.original import Ask, Translation
from service.client.client import AsyncClient
from service.client.options import DecodingOptions
from service.client.server_process import SERVE_COMMAND, running_server
from service.client.types import Completion, StepEvent
from service.model.bundle import read_manifest
from service.model.certificate import read_certificate
from tests.joeynmt_models import LIBRARY, MAKERS, SENTENCES, make_in_its_own_process, run_with_library

pytestmark = pytest.mark.skipif(
    not (LIBRARY / "joeynmt").is_dir(), reason="JoeyNMT is not installed: make test-originals does it"
)
LENGTH = 20
COMPARED = SENTENCES[:4]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("originals")
    return {kind: make_in_its_own_process(kind, root / kind) for kind in MAKERS}


@pytest.fixture(scope="module")
def store(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("imported")
    sentences = root.with_suffix(".txt")
    sentences.write_text("\n".join(SENTENCES[4:]))
    for folder in folders.values():
        command = ["import", "joeynmt", str(folder), "--model-store", str(root), "--max-length", "80"]
        command += ["--library", str(LIBRARY)]
        assert main([*command, "--sentences", str(sentences)]) == 0
    return root


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[str]:
    with running_server((*SERVE_COMMAND, "--model-store", str(store))) as address:
        yield address


@pytest.fixture(scope="module")
def originals(folders: dict[str, Path]) -> dict[str, list[Translation]]:
    def of(folder: Path) -> list[Translation]:
        asked = {"folder": str(folder), "texts": [asdict(Ask(text)) for text in COMPARED]}
        given = json.dumps(asked | {"max_length": LENGTH, "beam_size": 4})
        return [Translation(**one) for one in json.loads(run_with_library("export.joeynmt.original", given=given))]

    return {kind: of(folder) for kind, folder in folders.items()}


@pytest.mark.parametrize("kind", MAKERS)
def test_the_certificate_counts_what_joeynmt_made_of_the_same_sentences(store: Path, kind: str) -> None:
    original = read_certificate(store / kind / "1" / "certificate.json").original
    assert original is not None
    assert original.library == "joeynmt 2.3.0"
    for found in (original.greedy, original.beam):
        assert found.num_identical == found.num_sentences == 2


async def stream(client: AsyncClient, kind: str, text: str, beam_size: int) -> tuple[list[int], str]:
    options = DecodingOptions(max_length=LENGTH, beam_size=beam_size)
    events = [event async for event in client.stream(text, model=kind, options=options)]
    completion = events[-1]
    assert isinstance(completion, Completion)
    return [event.token_id for event in events if isinstance(event, StepEvent)], completion.text


@pytest.mark.parametrize("kind", MAKERS)
async def test_alone_every_token_is_that_of_joeynmt(
    server: str, originals: dict[str, list[Translation]], kind: str
) -> None:
    async with AsyncClient(server) as client:
        for text, wanted in zip(COMPARED, originals[kind], strict=True):
            assert await stream(client, kind, text, 1) == (list(wanted.greedy), wanted.text)
            assert (await stream(client, kind, text, 4))[0] == list(wanted.beam)


async def test_in_a_crowd_every_token_is_that_of_joeynmt(server: str, originals: dict[str, list[Translation]]) -> None:
    asked = [(kind, i, size) for kind in MAKERS for i in range(len(COMPARED)) for size in (1, 4)]
    async with AsyncClient(server) as client:
        found = await asyncio.gather(*(stream(client, kind, COMPARED[i], size) for kind, i, size in asked))
    for (kind, i, size), (token_ids, _) in zip(asked, found, strict=True):
        wanted = originals[kind][i]
        assert token_ids == list(wanted.greedy if size == 1 else wanted.beam), (kind, i, size)


def test_what_joeynmt_searches_with_is_in_the_manifest(store: Path) -> None:
    tied = read_manifest(store / "gru-bahdanau-tied" / "1")
    assert (tied.family, tied.search.length_penalty, tied.search.suppressed_ids) == ("recurrent", 0.0, (0, 1, 2))
    post = read_manifest(store / "transformer-post-tied" / "1")
    assert (post.search.length_penalty, post.search.length_norm, post.search.beam_end) == (0.6, "gnmt", "places")


def test_the_sentences_say_something_of_the_search(originals: dict[str, list[Translation]]) -> None:
    every = [one for kind in originals for one in originals[kind]]
    assert len({len(one.greedy) for one in every}) > 4
    assert len({tuple(one.greedy) for one in every}) > len(every) / 2
    assert sum(tuple(one.greedy) != tuple(one.beam) for one in every) > len(every) / 4
