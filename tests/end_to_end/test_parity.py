"""The exported graphs compute what the trained torch models compute."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.agreement import translate_all
from export.checkpoint import load_checkpoint
from export.evaluate import read_sources
from export.parity import check_parity, measure_agreement
from service.model.onnx_model import OnnxModel
from service.model.text import open_texts

CHECKPOINTS = Path(__file__).parents[2] / "export" / "checkpoints"
MODELS = ("en-de-transformer", "en-de-general", "en-de-hard", "en-de-local-p")


@pytest.mark.parametrize("name", MODELS)
def test_every_output_of_the_fp32_graphs_equals_torch_within_1e_4(fp32_store: Path, name: str) -> None:
    _, torch_model = load_checkpoint(CHECKPOINTS / name)
    parity = check_parity(torch_model, OnnxModel(fp32_store / name / "1"))
    assert max(difference.absolute for difference in parity.outputs.values()) < 1e-4
    assert {"candidate_log_probabilities", "attention"} < parity.outputs.keys()


@pytest.mark.parametrize("name", MODELS)
def test_greedy_translations_of_1000_sentences_are_those_of_torch(
    fp32_store: Path, name: str, sentences: list[str]
) -> None:
    _, torch_model = load_checkpoint(CHECKPOINTS / name)
    model = OnnxModel(fp32_store / name / "1")
    read = read_sources(model, open_texts(model.manifest, model.folder), sentences)
    sources = [source.ids for source in read]
    agreement = measure_agreement(torch_model, model.manifest, sources, translate_all(model, sources))
    assert (agreement.num_identical, agreement.num_sentences) == (1000, 1000)
