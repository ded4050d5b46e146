"""From a checkpoint to a version in the model store: exported, verified, certified, and there all at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from export.alignment.choose import read_record
from export.bundle import MAX_LENGTH, export_graphs, vocabulary_of, write_graphs, write_manifest
from export.certify import Subject, certify
from export.checkpoint import WEIGHTS_FILE, open_checkpoint
from export.configuration import TrainingConfiguration
from export.errors import CheckpointError
from export.evaluate import TestSet, read_test_set
from export.model_card import model_card
from export.models.contract import TranslationModel
from export.placing import free_version, place_version
from export.sign import read_private_key
from export.version_files import CERTIFICATE_FILE, MODEL_CARD_FILE
from service.model.certificate import Certificate, replay
from service.model.file_record import file_sha256
from service.model.manifest import Precision
from service.model.onnx_model import OnnxModel


def publish(
    checkpoint: Path,
    *,
    model_store: Path,
    name: str | None = None,
    version: int | None = None,
    precision: Precision = "int8",
    corpus: Path | None = None,
    corpora: Path | None = None,
    splits: Sequence[str] | None = None,
    key: Path | None = None,
) -> Path:
    """Publish a checkpoint as MODEL_STORE/NAME/VERSION; the version's folder.

    By default NAME is the configuration's and VERSION the next free number. With a corpus, or the folder of corpora
    that holds the configuration's, its test splits are translated for the scores, and the first one also for everything
    else that is measured on sentences. With a private key the version is signed. Raises CheckpointError,
    CorpusError, SigningError, PublishError, VersionExistsError or VerificationError; then nothing has been published.
    """
    signing_key = None if key is None else read_private_key(key)
    config, model = _load(checkpoint)
    name = config.name if name is None else name
    number = free_version(model_store, name, version)
    languages = config.data.source_language, config.data.target_language
    if corpora is not None:
        corpus = corpora / config.data.corpus
    test_sets = [read_test_set(corpus, split, *languages) for split in splits or config.data.test] if corpus else []

    def build(folder: Path) -> None:
        _build(folder, checkpoint, config, model, name, number, precision, test_sets)

    return place_version(model_store, name, number, build, key=signing_key)


def _build(
    folder: Path,
    checkpoint: Path,
    config: TrainingConfiguration,
    model: TranslationModel,
    name: str,
    version: int,
    precision: Precision,
    test_sets: Sequence[TestSet],
) -> None:
    """Write, verify, certify and replay a version in FOLDER; a float32 twin of an int8 one lies beside it."""

    def draft(where: Path, form: Precision) -> OnnxModel:
        write_graphs(where, graphs if form == "fp32" else graphs.quantized(), vocabulary_of(checkpoint))
        (where / CERTIFICATE_FILE).write_text("not measured yet\n", encoding="utf-8")
        write_manifest(where, config, model, form, name, version)
        return OnnxModel(where)

    graphs = export_graphs(model)
    shipped = draft(folder, precision)
    float32 = shipped if precision == "fp32" else draft(folder.with_name("float32"), "fp32")
    subject = Subject(model, float32, shipped, file_sha256(checkpoint / WEIGHTS_FILE))
    certificate = certify(subject, test_sets, config.data.golden)
    _write_certificate(folder, certificate)
    card = model_card(config, shipped.manifest, certificate, read_record(checkpoint, config))
    (folder / MODEL_CARD_FILE).write_text(card, encoding="utf-8")
    write_manifest(folder, config, model, precision, name, version)
    replay(OnnxModel(folder), certificate)


def _write_certificate(folder: Path, certificate: Certificate) -> None:
    (folder / CERTIFICATE_FILE).write_text(certificate.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _load(checkpoint: Path) -> tuple[TrainingConfiguration, TranslationModel]:
    config, model = open_checkpoint(checkpoint)
    if config.model.max_positions < MAX_LENGTH:
        raise CheckpointError(f"{checkpoint}: max_positions is {config.model.max_positions}, below {MAX_LENGTH}")
    return config, model
