"""What the command refuses before it starts anything, in one line."""

import shutil
from pathlib import Path

import pytest

from service.corpora import arguments

STORE = Path(__file__).parents[3] / "model_store"


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "in").write_text("one\n")
    return tmp_path / "in", tmp_path / "out"


@pytest.fixture
def _as_if_ray_were_here(monkeypatch):
    monkeypatch.setattr(arguments, "NEEDED", ())


def refused(result, status, *words):
    assert result[0] == status
    assert len(result[2].splitlines()) == 1
    for word in words:
        assert word in result[2]


def test_without_the_extra_it_says_how_to_install_it(run, corpus, monkeypatch):
    monkeypatch.setattr(arguments, "NEEDED", ("no_such_package",))
    refused(run("translate-corpus", *corpus), 1, "no_such_package", "pip install 'stepstream[corpora]'")
    assert not corpus[1].exists()


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--num-hypotheses", 2), "--num-hypotheses"),
        (("--alternatives",), "--alternatives"),
        (("--candidates", 2), "--candidates"),
        (("--priority", "low"), "--priority"),
        (("--sample",), "--seed"),
        (("--field", "a", "--output-field", "a"), "--output-field"),
        (("--shard-lines", 0), "--shard-lines"),
        (("--format", "xml"), "--format"),
    ],
)
def test_flags_that_make_no_sense_are_a_usage_error(run, corpus, flags, word):
    refused(run("translate-corpus", *corpus, *flags), 2, word)
    assert not corpus[1].exists()


@pytest.mark.usefixtures("_as_if_ray_were_here")
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), ("choose a model with --model", "en-de-transformer")),
        (("--model", "no-such"), ("has no no-such",)),
        (("--model", "en-de-transformer", "--version", 99), ("has no en-de-transformer version 99",)),
        (("--model", "en-de-transformer", "--beam-size", 99), ("beam_size is 99",)),
        (("--model", "en-de-transformer", "--suppress-token", "nope nope"), ("suppress_tokens",)),
    ],
)
def test_a_model_or_option_that_is_not_there_is_refused_before_anything_is_made(run, corpus, flags, words):
    refused(run("translate-corpus", *corpus, "--model-store", STORE, *flags), 1, *words)
    assert not corpus[1].exists()


@pytest.mark.usefixtures("_as_if_ray_were_here")
def test_a_model_that_is_not_whole_or_not_what_its_folder_says_is_refused(run, corpus, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(STORE / "en-de-transformer", store / "other")
    refused(run("translate-corpus", *corpus, "--model-store", store), 1, "holds en-de-transformer")
    (store / "other").rename(store / "en-de-transformer")
    with (store / "en-de-transformer" / "1" / "decoder_step.onnx").open("r+b") as graph:
        graph.write(b"damaged")
    refused(run("translate-corpus", *corpus, "--model-store", store), 1, "decoder_step.onnx", "SHA-256")
    assert not corpus[1].exists()


@pytest.mark.usefixtures("_as_if_ray_were_here")
def test_input_that_is_not_there_is_refused(run, corpus, tmp_path):
    flags = ("--model-store", STORE, "--model", "en-de-transformer")
    refused(run("translate-corpus", tmp_path / "missing", corpus[1], *flags), 1, "missing: No such file")
    assert not corpus[1].exists()
