"""Models that Marian itself trains for some seconds, imported by the command and served: its own translations, token
for token, alone and among each other.

Marian is fetched for the test and runs in processes of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from export.cli import main
from service.client.client import AsyncClient
from service.client.options import DecodingOptions
from service.client.server_process import SERVE_COMMAND, running_server
from service.client.types import Completion, StepEvent
from service.model.certificate import read_certificate
from tests.marian_models import END_ID, SENTENCES, make, train_vocabulary

pytestmark = pytest.mark.originals

PACKAGE = "pymarian==1.12.42"
NUM_UPDATES = 150
SIZES = (
    "--dim-emb 32 --transformer-heads 4 --transformer-dim-ffn 64 --enc-depth 2 --mini-batch 32 --cpu-threads 1 "
    "--workspace 256 --seed 3 --learn-rate 0.005 --lr-warmup 30 --cost-type ce-mean-words --quiet"
)
SHARED = "--tied-embeddings-all"
SSRU = "--transformer-decoder-autoreg rnn --dec-cell ssru"
KINDS = {
    "plain": ("--dec-depth 2 --tied-embeddings", False, 0.0),
    "student": (
        f"--dec-depth 3 --transformer-tied-layers 1 2 2 --transformer-ffn-activation relu {SHARED} {SSRU}",
        True,
        1.0,
    ),
    "projected": (
        f"--dec-depth 2 --tied-embeddings-src --transformer-preprocess n --transformer-postprocess da "
        f"--transformer-postprocess-top n --transformer-rnn-projection {SSRU}",
        True,
        0.6,
    ),
}
"""What they are trained with, whether both languages share a vocabulary, and how beams count length."""
TRAIN = "import sys, _pymarian; _pymarian.Trainer(sys.argv[1]).train()"
BEAM_SIZE = 4
END_WEIGHT = 2.0


@dataclass(frozen=True)
class Trained:
    """The files of a model, and what the import is told."""

    npz: Path
    vocabs: tuple[Path, Path]
    normalize: float


@pytest.fixture(scope="module", autouse=True)
def marian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Marian where this process and its children find it."""
    folder = tmp_path_factory.mktemp("package")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), PACKAGE]
    subprocess.run(pip, check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(folder)))))
        yield


@pytest.fixture(scope="module")
def models(marian: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    return {kind: train(tmp_path_factory.mktemp("marian"), kind) for kind in KINDS} | {
        "random": random_model(tmp_path_factory.mktemp("marian"))
    }


def train(folder: Path, kind: str) -> Trained:
    """A model that turns the words of a sentence round; ends are made likelier, which seconds do not teach."""
    options, is_shared, normalize = KINDS[kind]
    lines = [*SENTENCES, *(" ".join(sentence.split()[i:]) for sentence in SENTENCES for i in range(1, 5))] * 20
    source = train_vocabulary(folder / "source.spm", 0)
    target = source if is_shared else train_vocabulary(folder / "target.spm", 1)
    files = {"source.txt": lines, "target.txt": [" ".join(reversed(line.split())) for line in lines]}
    for name, content in files.items():
        (folder / name).write_text("\n".join(content) + "\n")
    npz = folder / f"{kind}.npz"
    sets = " ".join(str(folder / name) for name in files)
    asked = (
        f"--model {npz} --train-sets {sets} --vocabs {source} {target} --after-batches {NUM_UPDATES} {SIZES} {options}"
    )
    subprocess.run([sys.executable, "-c", TRAIN, f"--type transformer {asked}"], check=True)
    tensors = dict(np.load(npz))
    tensors["decoder_ff_logit_out_b"][0, END_ID] += END_WEIGHT
    np.savez(npz, **tensors)
    return Trained(npz, (source, target), normalize)


def random_model(folder: Path) -> Trained:
    """One whose targets seldom end, but where Marian cuts them off."""
    made = make(folder)
    npz = made.npz.rename(folder / "random.npz")
    return Trained(npz, (made.source, made.target), 0.0)


@pytest.fixture(scope="module")
def store(models: dict[str, Trained], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("imported")
    sentences = root.with_suffix(".txt")
    sentences.write_text("\n".join(SENTENCES))
    for model in models.values():
        command = ["import", "marian", str(model.npz), "--vocab", *map(str, model.vocabs)]
        told = ["--normalize", str(model.normalize), "--model-store", str(root), "--sentences", str(sentences)]
        assert main([*command, *told, "--max-length", "96"]) == 0
    return root


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[str]:
    with running_server((*SERVE_COMMAND, "--model-store", str(store))) as address:
        yield address


@pytest.fixture(scope="module")
def originals(models: dict[str, Trained]) -> dict[str, list[dict[str, list[int]]]]:
    """What Marian makes, as long as it lets a target become."""

    def of(model: Trained) -> list[dict[str, list[int]]]:
        asked = {
            "folder": str(model.npz),
            "vocabs": list(map(str, model.vocabs)),
            "normalize": model.normalize,
            "texts": [{"text": text} for text in SENTENCES],
            "max_length": None,
            "beam_size": BEAM_SIZE,
        }
        command = [sys.executable, "-m", "export.marian.original"]
        done = subprocess.run(command, input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True)
        made: list[dict[str, list[int]]] = json.loads(done.stdout)
        return made

    return {kind: of(model) for kind, model in models.items()}


def test_the_certificate_counts_what_marian_made_of_the_same_sentences(store: Path, models: dict[str, Trained]) -> None:
    for kind in models:
        original = read_certificate(store / kind / "1" / "certificate.json").original
        assert original is not None
        assert original.library == PACKAGE.replace("==", " ")
        for found in (original.greedy, original.beam):
            assert found.num_identical == found.num_sentences == len(SENTENCES)


async def stream(client: AsyncClient, kind: str, text: str, beam_size: int) -> list[int]:
    options = DecodingOptions(beam_size=beam_size)
    events = [event async for event in client.stream(text, model=kind, options=options)]
    assert isinstance(events[-1], Completion)
    return [event.token_id for event in events if isinstance(event, StepEvent)]


def wanted_of(originals: dict[str, list[dict[str, list[int]]]], kind: str, beam_size: int) -> Sequence[list[int]]:
    return [one["greedy" if beam_size == 1 else "beam"] for one in originals[kind]]


async def test_alone_every_token_is_that_of_marian(
    server: str, originals: dict[str, list[dict[str, list[int]]]]
) -> None:
    async with AsyncClient(server) as client:
        for kind in originals:
            for size in (1, BEAM_SIZE):
                found = [await stream(client, kind, text, size) for text in SENTENCES]
                assert found == wanted_of(originals, kind, size), (kind, size)


async def test_in_a_crowd_every_token_is_that_of_marian(
    server: str, originals: dict[str, list[dict[str, list[int]]]]
) -> None:
    asked = [(kind, i, size) for i in range(len(SENTENCES)) for kind in originals for size in (1, BEAM_SIZE)]
    async with AsyncClient(server) as client:
        found = await asyncio.gather(*(stream(client, kind, SENTENCES[i], size) for kind, i, size in asked))
    for (kind, i, size), token_ids in zip(asked, found, strict=True):
        assert token_ids == wanted_of(originals, kind, size)[i], (kind, i, size)


def test_the_sentences_say_something_of_the_search(originals: dict[str, list[dict[str, list[int]]]]) -> None:
    every = [one for kind in originals for one in originals[kind]]
    assert len({len(one["greedy"]) for one in every}) > 3
    assert any(one["greedy"] != one["beam"] for one in every)
