"""Batches are repeatable, training learns, and a run that was stopped goes on as if it never had been."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning_fabric import Fabric

import export.training.loop
from export.checkpoint import load_checkpoint
from export.cli import main
from export.configuration import load_configuration
from export.errors import CorpusError, DivergedError
from export.models.control_tokens import BEGIN_ID, END_ID, PAD_ID
from export.training.data import collate, read_lines, share, token_batches
from export.training.loop import Trainer

LENGTHS = st.lists(st.tuples(st.integers(2, 30), st.integers(1, 30)), min_size=1, max_size=60)


def make_pairs(lengths):
    return [([*range(4, 3 + source), END_ID], list(range(4, 4 + target))) for source, target in lengths]


@given(lengths=LENGTHS, budget=st.integers(1, 200), seed=st.integers(0, 1000))
def test_batches_hold_every_pair_once_and_keep_the_budget(lengths, budget, seed):
    pairs = make_pairs(lengths)
    batches = token_batches(pairs, budget, seed)
    assert sorted(map(str, pairs)) == sorted(str(pair) for batch in batches for pair in batch)
    for batch in batches:
        padded = len(batch) * max(len(target) + 1 for _, target in batch)
        assert padded <= budget or len(batch) == 1


@given(lengths=LENGTHS, seed=st.integers(0, 1000))
def test_the_same_seed_gives_the_same_batches(lengths, seed):
    pairs = make_pairs(lengths)
    assert token_batches(pairs, 100, seed) == token_batches(pairs, 100, seed)


def test_another_seed_gives_other_batches():
    pairs = make_pairs([(i % 20 + 2, i % 17 + 1) for i in range(200)])
    assert token_batches(pairs, 100, 1) != token_batches(pairs, 100, 2)


def test_processes_share_batches_evenly_and_without_overlap():
    batches = token_batches(make_pairs([(i % 20 + 2, i % 17 + 1) for i in range(200)]), 60, 1)
    shares = [list(share(batches, rank, 3)) for rank in range(3)]
    assert [len(own) for own in shares] == [len(batches) // 3] * 3
    for i, own in enumerate(zip(*shares, strict=True)):
        for rank, batch in enumerate(own):
            assert torch.equal(batch.source_ids, collate(batches[3 * i + rank]).source_ids)


def test_a_batch_is_padded_and_shifted():
    batch = collate([([5, 6, END_ID], [7]), ([8, END_ID], [9, 10])])
    assert batch.source_ids.tolist() == [[5, 6, END_ID], [8, END_ID, PAD_ID]]
    assert batch.source_lengths.tolist() == [3, 2]
    assert batch.target_inputs.tolist() == [[BEGIN_ID, 7, PAD_ID], [BEGIN_ID, 9, 10]]
    assert batch.target_outputs.tolist() == [[7, END_ID, PAD_ID], [9, 10, END_ID]]


@pytest.fixture
def start(copy_corpus, write_configuration, tmp_path):
    """Runs a training in a folder of its own, or takes it up again."""

    def run(name, *, kind="gru", max_epochs=3):
        path = write_configuration(tmp_path / f"{name}.toml", kind, max_epochs=max_epochs)
        fabric = Fabric(accelerator="cpu", devices=1)
        Trainer(path, load_configuration(path), copy_corpus, tmp_path / name, fabric).run()
        return tmp_path / name

    return run


def read_bleu(folder):
    with (folder / "metrics.csv").open() as file:
        return [float(row["validation_bleu"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("kind", ["gru", "transformer"])
def test_training_learns_to_copy(kind, start):
    folder = start("learns", kind=kind, max_epochs=12)
    assert max(read_bleu(folder)) > 80
    load_checkpoint(folder)
    assert (folder / "learning_curve.png").stat().st_size > 1000


def test_a_run_stopped_in_an_epoch_goes_on_exactly(start, monkeypatch):
    whole = start("whole", kind="lstm")

    class Killed(BaseException):
        pass

    train_step = Trainer._train_step

    def killed_step(trainer, batch, rate):
        if trainer._progress.epoch == 1 and trainer._progress.step % 5 == 4:
            raise Killed
        return train_step(trainer, batch, rate)

    monkeypatch.setattr(Trainer, "_train_step", killed_step)
    with pytest.raises(Killed):
        start("stopped", kind="lstm")
    monkeypatch.setattr(Trainer, "_train_step", train_step)
    before = torch.load(whole.parent / "stopped" / export.training.loop.STATE_FILE, weights_only=True)
    assert before["progress"]["epoch"] == 1
    stopped = start("stopped", kind="lstm")

    first, second = (torch.load(f / export.training.loop.STATE_FILE, weights_only=True) for f in (whole, stopped))
    assert first["progress"] == second["progress"]
    for part in ("model", "average"):
        for name, tensor in first[part].items():
            assert torch.equal(tensor, second[part][name]), name
    assert read_bleu(whole) == read_bleu(stopped)
    assert (whole / "weights.safetensors").read_bytes() == (stopped / "weights.safetensors").read_bytes()


def test_two_processes_train_one_checkpoint(copy_corpus, write_configuration, tmp_path):
    configuration = write_configuration(tmp_path / "two.toml", "gru", max_epochs=1)
    command = [sys.executable, "-m", "export.cli", "train", configuration, "--corpus", copy_corpus]
    command += ["--output", tmp_path / "two", "--accelerator", "cpu", "--devices", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 1  loss") == 1
    config, _ = load_checkpoint(tmp_path / "two")
    assert config.name == "tiny-gru"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('family = "recurrent"', 'family = "recursive"', "model: Input tag 'recursive' found"),
        ("max_epochs = 3", "max_epochs = 0", "optimization.max_epochs: Input should be greater than 0"),
        ("[model]", "[model", "cannot be read: "),
        ("vocabulary_size = 40", "vocabulary_size = 4000", "vocabulary_size 4000: Vocabulary size too high"),
        (
            'cell = "gru"',
            'cell = "gru"\nattention = {score = "location", num_locations = 39}',
            "data.max_length must not be above model.attention.num_locations",
        ),
    ],
)
def test_a_wrong_configuration_is_one_clear_line(
    old, new, message, write_configuration, copy_corpus, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = write_configuration(tmp_path / "wrong.toml", "gru")
    path.write_text(path.read_text().replace(old, new))
    assert main(["train", str(path), "--corpus", str(copy_corpus), "--accelerator", "cpu", "--devices", "1"]) == 1
    error = capsys.readouterr().err
    assert message in error.splitlines()[-1]
    assert "Traceback" not in error


def test_a_missing_corpus_or_device_is_one_clear_line(write_configuration, copy_corpus, tmp_path, capsys):
    path = str(write_configuration(tmp_path / "config.toml", "gru"))
    assert main(["train", str(tmp_path / "none.toml")]) == 1
    assert main(["train", path, "--corpus", str(tmp_path)]) == 1
    assert main(["train", path, "--corpus", str(copy_corpus), "--accelerator", "tpus"]) == 1
    configuration, corpus, device = capsys.readouterr().err.splitlines()
    assert "none.toml cannot be read" in configuration
    assert corpus == f"stepstream-export train: neither {tmp_path}/train.en.gz nor {tmp_path}/train.en exists"
    assert "these devices cannot be used" in device


def test_a_run_is_not_taken_up_with_another_model_and_its_checkpoint_stays(start, write_configuration, copy_corpus):
    folder = start("kept", kind="gru", max_epochs=1)
    weights = (folder / "weights.safetensors").read_bytes()
    path = write_configuration(folder.parent / "wider.toml", "gru")
    path.write_text(path.read_text().replace("hidden_size = 24", "hidden_size = 28"))
    command = ["train", str(path), "--corpus", str(copy_corpus), "--output", str(folder), "--accelerator", "cpu"]
    assert main([*command, "--devices", "1"]) == 1
    assert load_checkpoint(folder)[0].model.hidden_size == 24
    assert (folder / "weights.safetensors").read_bytes() == weights


def test_a_run_goes_on_from_its_own_configuration_with_more_epochs(start, copy_corpus):
    folder = start("longer", kind="gru", max_epochs=1)
    path = folder / "configuration.toml"
    path.write_text(path.read_text().replace("max_epochs = 1", "max_epochs = 2"))
    command = ["train", str(path), "--corpus", str(copy_corpus), "--output", str(folder), "--accelerator", "cpu"]
    assert main([*command, "--devices", "1"]) == 0
    assert len(read_bleu(folder)) == 2


@pytest.fixture
def variant(write_configuration, tmp_path):
    """The configuration of another attention that starts from the checkpoint in the folder `base` beside it."""
    path = write_configuration(tmp_path / "variant.toml", "concat", max_epochs=1)
    path.write_text(path.read_text() + 'start_from = "base"\n')
    return path


def test_a_variant_starts_from_the_fitting_weights_and_the_vocabulary_of_its_base(variant, copy_corpus, start, capsys):
    base = start("base", kind="hard", max_epochs=1)
    folder = variant.parent / "variant"
    fabric = Fabric(accelerator="cpu", devices=1)
    trainer = Trainer(variant, load_configuration(variant), copy_corpus, folder, fabric)
    before, own = load_checkpoint(base)[1].state_dict(), trainer._model.state_dict()
    fresh = {"attention.score.query.weight", "attention.score.vector"}
    assert own.keys() - before.keys() == fresh
    assert all(torch.equal(own[name], before[name]) for name in before)
    assert "freshly drawn: " + ", ".join(name for name in own if name in fresh) in capsys.readouterr().out
    assert (folder / "vocabulary.model").read_bytes() == (base / "vocabulary.model").read_bytes()
    trainer.run()
    weights = (folder / "weights.safetensors").read_bytes()
    (base / "weights.safetensors").unlink()
    Trainer(folder / "configuration.toml", load_configuration(variant), copy_corpus, folder, fabric).run()
    assert (folder / "weights.safetensors").read_bytes() == weights, "a finished run needs its base no more"


def test_a_base_that_is_missing_is_one_clear_line(variant, copy_corpus, capsys):
    command = ["train", str(variant), "--corpus", str(copy_corpus), "--output", str(variant.parent / "variant")]
    assert main([*command, "--accelerator", "cpu", "--devices", "1"]) == 1
    assert f"start_from: {variant.parent / 'base' / 'weights.safetensors'} is missing" in capsys.readouterr().err


def test_torchrun_starts_one_training_of_several_processes(copy_corpus, write_configuration, tmp_path):
    configuration = write_configuration(tmp_path / "run.toml", "gru", max_epochs=1)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "export.cli", "train"]
    command += [configuration, "--corpus", copy_corpus, "--output", tmp_path / "run", "--accelerator", "cpu"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 1  loss") == 1


def test_processes_that_hold_different_weights_are_noticed(start, monkeypatch):
    monkeypatch.setattr(Fabric, "all_gather", lambda _, checksum: torch.stack([checksum, checksum + 1]))
    with pytest.raises(DivergedError):
        start("diverged", kind="gru", max_epochs=1)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no sentences"), (b"\x1f\x8b damaged", "cannot be read"), (None, "neither")],
)
def test_a_corpus_that_cannot_be_read_is_one_clear_error(content, message, tmp_path):
    if content is not None:
        name = "train.en.gz" if content else "train.en"
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        read_lines(tmp_path, "train", "en")


def test_only_line_feeds_end_a_sentence(tmp_path):
    (tmp_path / "train.en").write_bytes("one\u2028still one\r\ntwo\x0bstill two\n".encode())
    assert read_lines(tmp_path, "train", "en") == ["one\u2028still one", "two\x0bstill two"]


def test_a_base_with_damaged_weights_is_one_clear_line(variant, copy_corpus, start, capsys):
    weights = start("base", kind="general", max_epochs=1) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    command = ["train", str(variant), "--corpus", str(copy_corpus), "--output", str(variant.parent / "variant")]
    assert main([*command, "--accelerator", "cpu", "--devices", "1"]) == 1
    error = capsys.readouterr().err
    assert f"start_from: {weights} cannot be loaded: " in error.splitlines()[-1]
    assert "Traceback" not in error


def test_a_vocabulary_is_there_whole_or_not_at_all(variant, copy_corpus, start, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    base = start("base", kind="general", max_epochs=1)
    fabric = Fabric(accelerator="cpu", devices=1)
    for name, path in (("copied", variant), ("trained", variant.parent / "base.toml")):
        folder = variant.parent / name
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", kill)
            with pytest.raises(Killed):
                Trainer(path, load_configuration(path), copy_corpus, folder, fabric)
        assert not (folder / "vocabulary.model").exists()
        Trainer(path, load_configuration(path), copy_corpus, folder, fabric)
        assert (folder / "vocabulary.model").read_bytes() == (base / "vocabulary.model").read_bytes()
        assert [entry.name for entry in folder.glob("vocabulary*")] == ["vocabulary.model"]
