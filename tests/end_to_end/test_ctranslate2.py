"""Greedy and beam search give what CTranslate2 gives on the same weights, in fp32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ctranslate2
import pytest

from benchmarks.to_ctranslate2 import convert, translate_ids
from export.checkpoint import load_checkpoint
from service.engine.request import Decoding, Hypothesis, Request
from service.engine.runner import Runner
from service.model.onnx_model import OnnxModel
from service.model.slots import Slots
from service.model.text import open_texts

NAME = "en-de-transformer"
CHECKPOINT = Path(__file__).parents[2] / "export" / "checkpoints" / NAME
MAX_LENGTH = 100
MAX_ROWS = 64
END = 3
LARGEST_TIE = 1e-4
SMALLEST_SHARE = 0.995


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> ctranslate2.Translator:
    folder = tmp_path_factory.mktemp("ctranslate2") / NAME
    convert(load_checkpoint(CHECKPOINT)[1], folder, "float32")
    return ctranslate2.Translator(str(folder), inter_threads=1, intra_threads=2)


def search(model: OnnxModel, sources: Sequence[tuple[int, ...]], decoding: Decoding) -> list[Hypothesis]:
    """The best hypothesis of each source; as soon as one has ended, the next takes its rows."""
    runner = Runner(Slots(model, MAX_ROWS), end_id=END)
    waiting = list(enumerate(sources))[::-1]
    num_running = 0
    best: dict[int, Hypothesis] = {}
    while waiting or num_running:
        joining = [waiting.pop() for _ in range(min(len(waiting), MAX_ROWS // decoding.num_rows - num_running))]
        if joining:
            assert runner.join([Request(number, source, decoding) for number, source in joining]) == []
        num_running += len(joining)
        for number, result in runner.step():
            if result.is_last:
                best[number] = result.hypotheses[0]
                num_running -= 1
    return [best[number] for number in range(len(sources))]


@pytest.mark.parametrize("beam_size", [1, 4])
def test_1000_sentences_are_translated_as_ctranslate2_does(
    beam_size: int, translator: ctranslate2.Translator, fp32_store: Path, sentences: list[str]
) -> None:
    model = OnnxModel(fp32_store / NAME / "1")
    texts = open_texts(model.manifest, model.folder)
    sources = [texts.read(sentence).ids for sentence in sentences]
    ours = search(model, sources, Decoding(MAX_LENGTH, beam_size=beam_size))
    theirs = translate_ids(
        translator,
        sources,
        beam_size=beam_size,
        min_decoding_length=0,
        max_decoding_length=MAX_LENGTH,
        max_batch_size=32,
    )
    differing = []
    for source, one, (other, *_) in zip(sources, ours, theirs, strict=True):
        ids = [token.token_id for token in one.tokens if token.token_id != END]
        if ids != other:
            forced = search(model, [source], Decoding(MAX_LENGTH, prefix=(*other, END)))[0]
            differing.append(abs(one.log_probability - forced.log_probability) / max(1, len(other)))
    assert len(differing) <= (1 - SMALLEST_SHARE) * len(sources)
    assert max(differing, default=0.0) < LARGEST_TIE
