"""From MAPPING.toml to a version in the model store. Whatever does not fit is refused before anything is written."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from export.errors import ForeignError
from export.foreign.bundle import Parts, write_manifest, write_parts
from export.foreign.card import foreign_card
from export.foreign.certify import certify
from export.foreign.mapping import read_mapping
from export.foreign.measure import find_sharing, make_samples, with_sharing
from export.foreign.originals import Original, read_graph, write_beside
from export.foreign.resolve import Resolver
from export.foreign.vocabularies import prepare_vocabulary
from export.placing import free_version, place_version
from export.sign import read_private_key
from export.version_files import CERTIFICATE_FILE, MODEL_CARD_FILE, WEIGHTS_FILE
from service.model.certificate import replay
from service.model.errors import GraphError
from service.model.foreign.roles import ForeignPair, Sharing
from service.model.onnx_model import OnnxModel
from service.model.private_file import in_memory, private_folder
from service.model.session import Session
from service.model.table_vocabulary import TableVocabulary
from service.model.vocabulary import Vocabulary


def import_onnx(
    path: Path, *, model_store: Path, name: str | None = None, version: int | None = None, key: Path | None = None
) -> Path:
    """Publish the pair of a mapping as MODEL_STORE/NAME/VERSION; the version's folder.

    By default NAME is the mapping's and VERSION the next free number. With a private key the version is signed. Raises
    ForeignError, SigningError, PublishError, VersionExistsError or VerificationError; then nothing has been published.
    """
    signing_key = None if key is None else read_private_key(key)
    parts = read_parts(path)
    name = name or parts.mapping.name
    number = free_version(model_store, name, version)
    return place_version(
        model_store, name, number, partial(_build, parts=parts, name=name, version=number), key=signing_key
    )


def read_parts(path: Path) -> Parts:
    """Everything that a mapping names, held against each other; raises ForeignError."""
    mapping, folder = read_mapping(path), path.parent
    encoder = read_graph(folder / mapping.encoder.file)
    decoder = read_graph(folder / mapping.decoder.file, first=encoder.end)
    source = prepare_vocabulary(folder, "source", mapping.source)
    target = prepare_vocabulary(folder, "target", mapping.target)
    sessions = (
        _open(folder / mapping.encoder.file, encoder),
        _open(folder / mapping.decoder.file, decoder),
    )
    resolved = Resolver(mapping, *sessions, source, target).resolve()
    parts = Parts(mapping, encoder, decoder, source, target, resolved)
    _check_examples(parts)
    return parts


def _check_examples(parts: Parts) -> None:
    mapping, source, pair = parts.mapping, parts.source, parts.resolved.pair
    kind = Vocabulary if mapping.source.tokenizer == "sentencepiece" else TableVocabulary
    vocabulary = kind(source.origin, len(source.tokens), source.content)
    for text in mapping.examples:
        length = len(pair.source_prefix) + len(vocabulary.encode(text)) + len(pair.source_suffix)
        if not 0 < length <= mapping.max_source_length:
            raise ForeignError(f"examples: {text!r} has {length} tokens, at most {mapping.max_source_length} are read")


def _open(path: Path, graph: Original) -> Session:
    try:
        with in_memory(path.name, graph.content) as file, private_folder() as weights:
            write_beside(weights / WEIGHTS_FILE, [graph])
            return Session(path, num_threads=1, file=file, weights=weights)
    except GraphError as error:
        raise ForeignError(str(error)) from error


def _build(folder: Path, *, parts: Parts, name: str, version: int) -> None:
    """Write, measure, certify and replay a version in FOLDER."""

    def load(pair: ForeignPair) -> OnnxModel:
        write_manifest(folder, parts, pair, name, version)
        return OnnxModel(folder, num_threads=1)

    write_parts(folder, parts)
    pair, reference = parts.resolved.pair, parts.resolved.reference
    samples, alone = make_samples(parts), Sharing(rows=False)
    if parts.mapping.share:
        pair = find_sharing(pair, load, reference, samples)
    else:
        pair = with_sharing(pair, encoder=alone, decoder=alone)
    model = load(pair)
    certificate = certify(model, parts, samples)
    (folder / CERTIFICATE_FILE).write_text(certificate.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (folder / MODEL_CARD_FILE).write_text(foreign_card(model.manifest, certificate), encoding="utf-8")
    replay(load(pair), certificate)
