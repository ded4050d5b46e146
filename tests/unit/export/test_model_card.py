"""The card shows the scores that were measured, and no others."""

from pathlib import Path

import pytest

from export.configuration import TrainingConfiguration, load_configuration
from export.model_card import model_card
from service.model.bundle import read_manifest
from service.model.certificate import PlaceholdersKept, read_certificate

ROOT = Path(__file__).parents[3]


@pytest.fixture
def parts():
    """Configuration, manifest and certificate of a shipped version."""
    folder = ROOT / "model_store" / "en-de-transformer" / "1"
    config = load_configuration(ROOT / "export" / "checkpoints" / "en-de-transformer" / "configuration.toml")
    return config, read_manifest(folder), read_certificate(folder / "certificate.json")


def table(card):
    return [line.strip("| ").split(" | ") for line in card.splitlines() if line.startswith("| ")]


def with_scores(certificate, **changes):
    scores = tuple(scores.model_copy(update=changes) for scores in certificate.scores)
    return certificate.model_copy(update={"scores": scores, "quantization": None})


def test_captions_have_the_form_of_the_literature_and_no_placeholders(parts):
    config, manifest, certificate = parts
    card = model_card(config, manifest, certificate)
    assert table(card)[0] == ["split", "precision", "sentences", "BLEU", "BLEU, lowercased and tokenized", "chrF"]
    assert [line[1] for line in table(card)[2:]] == ["this version", "this version", "float32"]
    assert "Lowercased and tokenized: " in card
    assert "Placeholders kept: " not in card


def test_software_has_placeholders_and_no_form_of_the_literature(parts):
    config, manifest, certificate = parts
    kept = PlaceholdersKept(num_with_placeholders=7, num_kept=5)
    certificate = with_scores(certificate, bleu_lowercased_tokenized=None, placeholders_kept=kept)
    card = model_card(config, manifest, certificate)
    assert table(card)[0] == ["split", "precision", "sentences", "BLEU", "chrF", "placeholders kept"]
    assert table(card)[2][-1] == "5 of 7"
    assert "Placeholders kept: " in card
    assert "Lowercased and tokenized: " not in card


def test_the_example_is_a_sentence_that_the_version_was_proved_on(parts):
    config, manifest, certificate = parts
    golden = certificate.golden[0].model_copy(update={"text": "Don't"})
    card = model_card(config, manifest, certificate.model_copy(update={"golden": (*certificate.golden, golden)}))
    assert "stepstream translate 'Don'\"'\"'t' --model en-de-transformer\n" in card


@pytest.mark.parametrize(
    ("attention", "named"),
    [
        ("none", "one GRU cell without attention, "),
        ({"score": "dot", "span": "local_m", "choice": "hard"}, "one GRU cell with hard local_m `dot` attention, "),
    ],
)
def test_a_recurrent_model_is_named_with_its_attention(attention, named, parts):
    config, manifest, certificate = parts
    model = {"family": "recurrent", "cell": "gru", "attention": attention}
    config = TrainingConfiguration.model_validate({**config.model_dump(), "model": model})
    assert named in model_card(config, manifest, certificate)
