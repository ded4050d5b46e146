"""Models of transformers, imported by the command and served, translate token for token as transformers does: alone
and among each other. Each model is of a real class, with a tokenizer of its real class, as `save_pretrained` writes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from export.cli import main
from export.hf.original import translate
from export.imports.original import Ask, Translation
from service.client.client import AsyncClient
from service.client.options import DecodingOptions
from service.client.server_process import SERVE_COMMAND, running_server
from service.client.types import Completion, StepEvent
from service.model.bundle import read_manifest
from service.model.certificate import read_certificate
from service.model.text import open_texts
from service.pb import translation_pb2 as pb
from service.pb import translation_pb2_grpc as pb_grpc
from tests.hf_models import MAKERS, SENTENCES, make_t5

LANGUAGES = {"m2m100": ("fr", "ko"), "nllb": ("fra_Latn", "kor_Hang"), "mbart50": ("fr_XX", "ko_KR")}
LENGTH = 24


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("originals")
    return {kind: make(root / kind) for kind, make in MAKERS.items()}


@pytest.fixture(scope="module")
def store(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("imported")
    sentences = root.with_suffix(".txt")
    sentences.write_text("\n".join(SENTENCES[:3]))
    for folder in folders.values():
        command = ["import", "hf", str(folder), "--model-store", str(root), "--max-length", "48"]
        assert main([*command, "--sentences", str(sentences)]) == 0
    return root


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[str]:
    with running_server((*SERVE_COMMAND, "--model-store", str(store))) as address:
        yield address


@pytest.fixture(scope="module")
def originals(folders: dict[str, Path]) -> dict[str, list[Translation]]:
    def of(kind: str) -> list[Translation]:
        source, target = LANGUAGES.get(kind, ("", ""))
        return translate(
            folders[kind], [Ask(text, source, target) for text in SENTENCES[:3]], max_length=LENGTH, beam_size=4
        )

    return {kind: of(kind) for kind in folders}


@pytest.mark.parametrize("kind", MAKERS)
def test_the_certificate_counts_what_transformers_made_of_the_same_sentences(store: Path, kind: str) -> None:
    original = read_certificate(store / kind / "1" / "certificate.json").original
    assert original is not None
    assert original.library.startswith("transformers 5.")
    for found in (original.greedy, original.beam):
        assert found.num_identical == found.num_sentences >= 3


async def stream(client: AsyncClient, kind: str, text: str, beam_size: int) -> tuple[list[int], str]:
    source, target = LANGUAGES.get(kind, ("", ""))
    options = DecodingOptions(max_length=LENGTH, beam_size=beam_size, source_language=source, target_language=target)
    events = [event async for event in client.stream(text, model=kind, options=options)]
    completion = events[-1]
    assert isinstance(completion, Completion)
    return [event.token_id for event in events if isinstance(event, StepEvent)], completion.text


@pytest.mark.parametrize("kind", MAKERS)
async def test_alone_every_token_is_that_of_transformers(
    server: str, originals: dict[str, list[Translation]], kind: str
) -> None:
    async with AsyncClient(server) as client:
        for text, wanted in zip(SENTENCES[:3], originals[kind], strict=True):
            assert await stream(client, kind, text, 1) == (list(wanted.greedy), wanted.text)
            assert (await stream(client, kind, text, 4))[0] == list(wanted.beam)


async def test_in_a_crowd_every_token_is_that_of_transformers(
    server: str, originals: dict[str, list[Translation]]
) -> None:
    asked = [(kind, i, beam_size) for kind in MAKERS for i in range(3) for beam_size in (1, 4)]
    async with AsyncClient(server) as client:
        found = await asyncio.gather(*(stream(client, kind, SENTENCES[i], size) for kind, i, size in asked))
    for (kind, i, size), (token_ids, _) in zip(asked, found, strict=True):
        wanted = originals[kind][i]
        assert token_ids == list(wanted.greedy if size == 1 else wanted.beam), (kind, i, size)


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        ("nllb", {"target_language": "de"}, "target_language is none of the model's languages, which are ace_Arab, "),
        ("nllb", {}, "target_language is not set; the model has ace_Arab, "),
        ("mbart50", {"source_language": "en", "target_language": "de_DE"}, "source_language is none of the model's"),
        ("marian", {"target_language": "fr"}, "target_language is none of the model's languages, which are de"),
    ],
)
async def test_an_unknown_language_is_an_invalid_argument_that_names_those_there_are(
    server: str, store: Path, kind: str, options: dict[str, str], told: str
) -> None:
    asked = pb.StreamTranslateRequest(model=kind, text="Two dogs.", options=pb.DecodingOptions(**options))
    async with grpc.aio.insecure_channel(server) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await anext(aiter(pb_grpc.TranslationServiceStub(channel).StreamTranslate(asked)))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = refused.value.details() or ""
    assert told in details
    field = "source_id" if told.startswith("source") else "target_id"
    languages = read_manifest(store / kind / "1").vocabulary.languages
    assert all(one.code in details for one in languages if getattr(one, field) is not None)


def test_a_source_of_m2m100_begins_with_its_language_and_one_that_the_text_spells_is_text(store: Path) -> None:
    manifest = read_manifest(store / "m2m100" / "1")
    ids = {one.code: one.source_id for one in manifest.vocabulary.languages}
    texts = open_texts(manifest, store / "m2m100" / "1")
    source = texts.read("__ko__ Two dogs", "fr", "de")
    assert source.ids[0] == ids["fr"]
    assert source.ids[-1] == manifest.vocabulary.end_id
    assert ids["ko"] not in source.ids
    assert source.target_prefix == (ids["de"],)
    assert texts.write([ids["ko"], *source.ids[1:-1]], source) == texts.write(source.ids[1:-1], source)


def test_the_sentences_say_something_of_the_search(originals: dict[str, list[Translation]]) -> None:
    every = [one for kind in originals for one in originals[kind]]
    assert len({len(one.greedy) for one in every}) > 3
    assert len({one.greedy for one in every}) > len(every) / 2
    assert any(one.greedy != one.beam for one in every)


def test_a_model_that_transformers_itself_cannot_translate_with_is_refused_in_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its cache has a place for each layer of the encoder, and none for a third one of the decoder."""
    folder = make_t5(tmp_path / "deep", num_layers=1, num_decoder_layers=3)
    assert main(["import", "hf", str(folder), "--model-store", str(tmp_path / "store"), "--max-length", "16"]) == 1
    assert re.search(
        r"transformers 5\S+ itself fails to translate with this model: IndexError", capsys.readouterr().err
    )
    assert not (tmp_path / "store" / "deep").exists()
