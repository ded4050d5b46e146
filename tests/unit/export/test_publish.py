"""A version is published whole, once, with proof; damage and other weights are refused."""

import json
import os
import shutil
import threading

import numpy as np
import pytest

import export.certify
import export.placing
import export.publish
import export.quantize
from export.bundle import export_graphs
from export.cli import main
from export.errors import CheckpointError, InvarianceError, PublishError, TokensDifferError, VersionExistsError
from export.publish import publish
from service.model.certificate import read_certificate, replay
from service.model.errors import BundleError, CertificateError
from service.model.file_record import file_sha256
from service.model.onnx_model import OnnxModel
from service.model.store import list_versions


@pytest.fixture(scope="module", autouse=True)
def weak_margins():
    """Random weights leave hardly any margin between tokens, so that more of them flip in 8 bits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export.certify, "LARGEST_QUANTIZATION_COST", 0.1)
        yield


@pytest.fixture
def quick(gru, monkeypatch):
    """Graphs that are there already stand in for exporting them again."""
    monkeypatch.setattr(export.publish, "export_graphs", lambda _: gru.graphs)


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


@pytest.fixture(scope="module")
def published(gru, copy_corpus, tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    return publish(gru.checkpoint, model_store=store, name="tiny", corpus=copy_corpus)


@pytest.fixture
def copied(published, tmp_path):
    folder = tmp_path / "tiny" / "1"
    folder.mkdir(parents=True)
    for path in published.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_version_is_self_contained_and_every_file_has_its_hash(published, gru):
    model = OnnxModel(published)
    manifest = model.manifest
    assert (manifest.name, manifest.version, manifest.precision, manifest.family) == ("tiny", 1, "int8", "recurrent")
    files = ["README.md", "certificate.json", "decoder_step.onnx", "encoder.onnx", "vocabulary.model"]
    assert sorted(manifest.files) == files
    assert names(published) == sorted([*files, "manifest.json"])
    assert manifest.vocabulary.source == manifest.vocabulary.target == "vocabulary.model"
    assert names(published.parent) == ["1"]


def test_the_certificate_records_every_measurement(published, gru):
    certificate = read_certificate(published / "certificate.json")
    assert certificate.weights_sha256 == file_sha256(gru.checkpoint / "weights.safetensors")
    assert certificate.agreement.num_identical == certificate.agreement.num_sentences == 24
    assert certificate.quantization.num_sentences == 24
    assert 0 <= certificate.quantization.num_flipped_tokens < certificate.quantization.num_tokens
    assert [scores.split for scores in certificate.scores] == ["test_2016_flickr"]
    assert 0 < len(certificate.golden) <= 8
    assert certificate.environment.execution_provider == "CPUExecutionProvider"
    replay(OnnxModel(published), certificate)


def test_the_card_names_licence_citation_and_scores(published):
    card = (published / "README.md").read_text()
    scores = read_certificate(published / "certificate.json").scores[0]
    for expected in ("none: made up", "nobody", f"| {scores.bleu:.2f} |", scores.bleu_signature):
        assert expected in card


def test_the_same_checkpoint_gives_the_same_graphs(gru):
    again = export_graphs(gru.model)
    for mine, theirs in ((gru.graphs, again), (gru.graphs.quantized(), again.quantized())):
        assert mine.encoder.SerializeToString(deterministic=True) == theirs.encoder.SerializeToString(
            deterministic=True
        )
        assert mine.decoder_step.SerializeToString(deterministic=True) == theirs.decoder_step.SerializeToString(
            deterministic=True
        )


def test_without_a_corpus_built_in_sentences_are_golden_and_nothing_is_scored(quick, gru, store):
    folder = publish(gru.checkpoint, model_store=store, precision="fp32")
    certificate = read_certificate(folder / "certificate.json")
    assert folder == store / "tiny-gru" / "1"
    assert (certificate.scores, certificate.quantization) == ((), None)
    assert {sentence.text for sentence in certificate.golden} & {"A man rides a bicycle.", "Two dogs play in the snow."}
    assert "Not measured." in (folder / "README.md").read_text()


def test_golden_sentences_are_those_that_may_be_quoted(quick, gru, store, copy_corpus, tmp_path):
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(gru.checkpoint, checkpoint)
    path = checkpoint / "configuration.toml"
    path.write_text(path.read_text().replace("[data]", '[data]\ngolden = ["ba gu", "ce ce fo", "je"]'))
    folder = publish(checkpoint, model_store=store, name="tiny", corpus=copy_corpus, splits=["test_2016_flickr"])
    certificate = read_certificate(folder / "certificate.json")
    assert {sentence.text for sentence in certificate.golden} <= {"ba gu", "ce ce fo", "je"}
    assert certificate.scores[0].num_sentences == 24


def test_the_next_version_takes_the_next_free_number(quick, gru, store):
    (store / "tiny" / "9").mkdir(parents=True)
    assert publish(gru.checkpoint, model_store=store, name="tiny").name == "10"


def test_a_published_version_is_never_overwritten(quick, gru, store):
    taken = store / "tiny" / "3"
    taken.mkdir(parents=True)
    with pytest.raises(VersionExistsError, match=r"store/tiny/3 exists already"):
        publish(gru.checkpoint, model_store=store, name="tiny", version=3)
    assert names(taken) == []


def test_of_two_publishers_of_one_version_one_wins_and_the_other_is_refused(quick, gru, store, monkeypatch):
    barrier, refused = threading.Barrier(2, timeout=60), []
    sync = export.placing.sync_folder

    def sync_together(folder):
        sync(folder)
        if folder.name == "version":
            assert list_versions(store) == []
            barrier.wait()

    def run():
        try:
            publish(gru.checkpoint, model_store=store, name="tiny", version=1)
        except VersionExistsError as error:
            refused.append(str(error))

    monkeypatch.setattr(export.placing, "sync_folder", sync_together)
    publishers = [threading.Thread(target=run) for _ in range(2)]
    for publisher in publishers:
        publisher.start()
    for publisher in publishers:
        publisher.join()
    assert refused == [f"{store}/tiny/1 exists already; a published version is never replaced"]
    assert names(store / "tiny") == ["1"]
    OnnxModel(store / "tiny" / "1")


def test_a_failed_check_publishes_nothing_and_leaves_nothing(quick, gru, store, monkeypatch):
    def fail(*_):
        assert list_versions(store) == []
        raise InvarianceError("padding changes keys")

    monkeypatch.setattr(export.publish, "certify", fail)
    with pytest.raises(InvarianceError):
        publish(gru.checkpoint, model_store=store, name="tiny")
    assert names(store) == []


@pytest.mark.parametrize("name", ["../tiny", "Tiny", ".tiny", ""])
def test_a_name_that_is_no_folder_name_is_refused(name, gru, store):
    with pytest.raises(PublishError, match="no model name"):
        publish(gru.checkpoint, model_store=store, name=name)
    assert not store.exists()


def test_a_damaged_checkpoint_is_one_clear_line(gru, store, tmp_path, capsys):
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in gru.checkpoint.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    (broken / "weights.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(CheckpointError, match="broken cannot be loaded: "):
        publish(broken, model_store=store)
    assert main(["publish", str(broken), "--model-store", str(store)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("stepstream-export publish: ")
    assert error.count("\n") == 1


def flip_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def replace_by_link(path):
    elsewhere = path.parent.parent / path.name
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


@pytest.mark.parametrize("file", ["encoder.onnx", "decoder_step.onnx", "vocabulary.model", "certificate.json"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_byte, "does not have the SHA-256"),
        (truncate, "bytes, the manifest says"),
        (os.remove, "missing or not a plain file"),
        (replace_by_link, "missing or not a plain file"),
    ],
)
def test_a_damaged_file_is_refused_and_named(copied, file, damage, message):
    damage(copied / file)
    with pytest.raises(BundleError, match=rf"{file} .*{message}|{file} is {message}"):
        OnnxModel(copied)


def test_other_weights_do_not_replay_the_golden_sentences(published, make_checkpoint, store):
    other = publish(make_checkpoint("gru", seed=1), model_store=store, name="other")
    with pytest.raises(
        CertificateError, match=r"golden sentence 1, position \d+: (token|log-probability) .* expected, .* found"
    ):
        replay(OnnxModel(other), read_certificate(published / "certificate.json"))


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("log_probabilities", lambda values: [values[0] + 0.06, *values[1:]], r"position 0: log-probability .* found"),
        ("target_ids", lambda values: [*values[:-1], values[-1] ^ 1], r"position \d+: token \d+ expected, \d+ found"),
        ("source_ids", lambda values: [*values[:-1], 5, 6, 7, 3], r"golden sentence 2, position"),
    ],
)
def test_a_replay_names_sentence_position_and_difference(published, key, change, message):
    content = json.loads((published / "certificate.json").read_text())
    content["golden"][1][key] = change(content["golden"][1][key])
    changed = type(read_certificate(published / "certificate.json")).model_validate_json(json.dumps(content))
    with pytest.raises(CertificateError, match=message):
        replay(OnnxModel(published), changed)


def test_a_certificate_that_is_none_is_refused(tmp_path):
    path = tmp_path / "certificate.json"
    with pytest.raises(CertificateError, match="cannot be read: No such file"):
        read_certificate(path)
    path.write_text('{"format": 2}')
    with pytest.raises(CertificateError, match="is not valid at format"):
        read_certificate(path)


def test_an_8_bit_form_that_translates_otherwise_is_not_published(gru, quick, store, monkeypatch):
    exact = export.quantize.quantize_columns

    def rolled(matrix):
        integers, scales = exact(matrix)
        return np.roll(integers, 7, axis=0), scales

    monkeypatch.setattr(export.quantize, "quantize_columns", rolled)
    with pytest.raises(TokensDifferError, match="8-bit form flips"):
        publish(gru.checkpoint, model_store=store, name="rolled")
    assert names(store) == []


def test_a_target_is_stable_where_tokens_are_equal_and_log_probabilities_near():
    is_stable, Target = export.certify.is_stable, export.certify.Target  # noqa: N806
    one = Target([5, 6, 3], [-0.5, -0.25, -0.125])
    assert is_stable(one, Target([5, 6, 3], [-0.5, -0.3125, -0.0625]), 0.0625)
    assert not is_stable(one, Target([5, 6, 3], [-0.5, -0.3125, -0.0]), 0.0625)
    assert not is_stable(one, Target([5, 7, 3], [-0.5, -0.25, -0.125]), 0.0625)
    assert not is_stable(one, Target([5, 6], [-0.5, -0.25]), 0.0625)
    assert not is_stable(one, Target([5, 6, 3], [-0.5, float("nan"), -0.125]), 0.0625)


@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("some_are_stable", [True, False])
def test_golden_sentences_are_stable_ones_where_there_are_any(
    quick, gru, store, copy_corpus, tmp_path, monkeypatch, quoted, some_are_stable
):
    compared = []

    def is_chosen(one, other, tolerance):
        compared.append((one, other, tolerance))
        return some_are_stable and len(compared) in (2, 3)

    monkeypatch.setattr(export.certify, "is_stable", is_chosen)
    texts = (copy_corpus / "test_2016_flickr.en").read_text().splitlines()
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(gru.checkpoint, checkpoint)
    if quoted:
        texts = ["ba gu", "ce ce fo", "je", "ha ki"]
        path = checkpoint / "configuration.toml"
        path.write_text(path.read_text().replace("[data]", f"[data]\ngolden = {json.dumps(texts)}"))
    folder = publish(checkpoint, model_store=store, name="tiny", corpus=copy_corpus)
    golden = read_certificate(folder / "certificate.json").golden
    assert len(compared) == len(texts)
    assert {tolerance for *_, tolerance in compared} == {5e-2}
    assert any(one.log_probabilities != other.log_probabilities for one, other, _ in compared)
    if some_are_stable:
        assert {sentence.text for sentence in golden} == set(texts[1:3])
    else:
        assert len(golden) == (4 if quoted else 8)
