"""Shipped models are made again in the right order, and what is finished is not done again."""

import csv
import shutil

import pytest

from export.checkpoint import load_checkpoint
from export.cli import main
from service.model.certificate import read_certificate
from service.model.file_record import file_sha256
from service.model.store import list_versions


@pytest.fixture
def places(copy_corpus, write_configuration, tmp_path):
    """A base, and a model without attention that starts from it and is named before it."""
    for name, kind in (("base", "general"), ("alone", "none")):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        path = write_configuration(tmp_path / "checkpoints" / name / "configuration.toml", kind, max_epochs=1)
        text = path.read_text().replace(f'name = "tiny-{kind}"', f'name = "{name}"')
        text = text.replace("[data]", '[data]\ncorpus = "copy"')
        path.write_text(text + ('start_from = "../base"\n' if name == "alone" else ""))
    (tmp_path / "corpora").mkdir()
    shutil.copytree(copy_corpus, tmp_path / "corpora" / "copy")
    return tmp_path


@pytest.fixture
def rebuild(places):
    def run(*names):
        folders = [f"--{key}={places / key}" for key in ("checkpoints", "corpora", "runs")]
        return main(["rebuild", *names, *folders, f"--model-store={places / 'store'}"])

    return run


def epochs(folder):
    with (folder / "metrics.csv").open() as file:
        return [int(row["epoch"]) for row in csv.DictReader(file)]


def test_all_models_are_trained_and_published_and_then_left_alone(rebuild, places, capsys):
    assert rebuild() == 0
    said = capsys.readouterr().out
    assert said.index("base: published as") < said.index("alone: training in")
    assert "freshly drawn: attentional.weight" in said
    for name in ("base", "alone"):
        checkpoint = places / "checkpoints" / name
        assert load_checkpoint(checkpoint)[0].name == name
        assert epochs(checkpoint) == [1]
        certificate = read_certificate(places / "store" / name / "1" / "certificate.json")
        assert certificate.weights_sha256 == file_sha256(checkpoint / "weights.safetensors")
        assert [scores.split for scores in certificate.scores] == ["test_2016_flickr"]
        assert (checkpoint / "alignment.json").exists() == (name == "base")
    assert rebuild() == 0
    assert capsys.readouterr().out.count("holds these weights already") == 2
    assert [(stored.name, stored.version) for stored in list_versions(places / "store")] == [("alone", 1), ("base", 1)]

    path = places / "checkpoints" / "base" / "configuration.toml"
    path.write_text(path.read_text().replace("max_epochs = 1", "max_epochs = 2"))
    assert rebuild("base") == 0
    assert epochs(places / "checkpoints" / "base") == [1, 2], "it goes on where it was"


def test_an_unknown_name_a_circle_and_a_missing_corpus_are_one_clear_line(rebuild, places, capsys):
    assert rebuild("other") == 1
    assert "no configuration for other; there are alone, base" in capsys.readouterr().err
    base = places / "checkpoints" / "base" / "configuration.toml"
    text = base.read_text()
    base.write_text(text + 'start_from = "../alone"\n')
    assert rebuild() == 1
    assert "alone, base start from each other" in capsys.readouterr().err
    base.write_text(text)
    shutil.rmtree(places / "corpora" / "copy")
    assert rebuild("base") == 1
    assert "train.en exists" in capsys.readouterr().err
    assert not (places / "runs").exists()
