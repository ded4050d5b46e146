"""From a folder of transformers to a version in the model store: mapped, exported, verified, compared with the
translations of transformers token for token, and there all at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from export.bundle import (
    CERTIFICATE_FILE,
    DECODER_STEP_FILE,
    ENCODER_FILE,
    LENGTH_MULTIPLE,
    MODEL_CARD_FILE,
    NUM_CANDIDATES,
    read_graphs,
    records_of,
    states_of,
    write_float32,
    write_graphs,
)
from export.errors import ImportedModelError
from export.hf import bart, t5
from export.hf.architecture import Architecture
from export.hf.card import model_card
from export.hf.certify import certify
from export.hf.imported import Imported
from export.hf.search import read_decoding
from export.hf.tokenize import load_configurations, load_tokenizer
from export.hf.vocabulary import Tokenization, read_tokenization
from export.hf.weights import Weights
from export.placing import free_version, place_version
from export.separately import separately
from export.sign import read_private_key
from service.model.certificate import read_certificate, replay
from service.model.manifest import MANIFEST_FILE, Manifest, Precision
from service.model.onnx_model import OnnxModel

Describe = Callable[[Any, Weights, int], Architecture]
DESCRIBE: dict[str, Describe] = {
    **dict.fromkeys(bart.ARRANGEMENTS, bart.describe),
    "t5": t5.describe,
    "mt5": t5.describe,
}
"""By the model_type of config.json."""
DEFAULT_LONGEST = 256


def read(folder: Path, longest: int = DEFAULT_LONGEST) -> Imported:
    """What the folder holds, for sources and targets of at most `longest` tokens; raises ImportedModelError. Nothing is
    written."""
    if not folder.is_dir():
        raise ImportedModelError(
            f"{folder} is no folder; download a model first: hf download NAME --local-dir {folder}"
        )
    config, generation = load_configurations(folder)
    if (describe := DESCRIBE.get(config.model_type)) is None:
        raise ImportedModelError(
            f"{folder} is a {config.model_type}; supported are {', '.join(DESCRIBE)}, which NLLB is one of (m2m_100)"
        )
    if getattr(config, "quantization_config", None) is not None:
        raise ImportedModelError(f"{folder} is quantized, which is not supported: take the original weights")
    weights = Weights(folder)
    architecture = _described(describe, config, weights, padded(longest))
    decoding = read_decoding(generation)
    if decoding.impossible_ids:
        architecture = architecture.without(decoding.impossible_ids)
    architecture.check(weights)
    sizes = architecture.source_size, architecture.target_size
    tokenization = read_tokenization(load_tokenizer(folder), decoding, *sizes)
    room = architecture.configuration.max_positions // LENGTH_MULTIPLE * LENGTH_MULTIPLE
    name = (config.architectures or [config.model_type])[0]
    return Imported(folder, name, architecture, weights, decoding, tokenization, min(longest, room))


def _described(describe: Describe, config: Any, weights: Weights, longest: int) -> Architecture:
    try:
        return describe(config, weights, longest).with_output_bias().with_whole_heads()
    except ValidationError as error:
        raise ImportedModelError(f"config.json is not supported: {error.errors()[0]['msg']}") from error


def import_model(
    folder: Path,
    *,
    model_store: Path,
    name: str | None = None,
    version: int | None = None,
    precision: Precision = "fp32",
    longest: int = DEFAULT_LONGEST,
    source_language: str | None = None,
    target_language: str | None = None,
    sentences: Sequence[str] = (),
    key: Path | None = None,
) -> Path:
    """Publish a folder as MODEL_STORE/NAME/VERSION; the version's folder.

    By default NAME is the folder's and VERSION the next free number. The languages are those of requests that name
    none; sentences are what is measured on, instead of built-in English ones. Raises ImportedModelError, SigningError,
    PublishError, VersionExistsError or VerificationError; then nothing has been published.
    """
    imported = read(folder, longest)
    tokens = _with_languages(imported.tokenization, source_language, target_language)
    return publish(
        replace(imported, tokenization=tokens),
        model_store=model_store,
        name=name or name_of(folder),
        version=version,
        precision=precision,
        sentences=sentences,
        key=key,
    )


def name_of(path: Path) -> str:
    """What a model is called after its folder or file."""
    return re.sub(r"[^a-z0-9._-]+", "-", path.resolve().name.lower()).strip("-._")


def publish(
    imported: Imported,
    *,
    model_store: Path,
    name: str,
    version: int | None,
    precision: Precision,
    sentences: Sequence[str],
    key: Path | None,
) -> Path:
    """Publish what an import has found out; the version's folder. Raises as `import_model`."""
    signing_key = None if key is None else read_private_key(key)
    number = free_version(model_store, name, version)

    def build(place: Path) -> None:
        _build(place, imported, name, number, precision, sentences)

    return place_version(model_store, name, number, build, key=signing_key)


def _with_languages(tokens: Tokenization, source: str | None, target: str | None) -> Tokenization:
    codes = {one.code for one in tokens.vocabulary.languages}
    for code in (source, target):
        if code and codes and code not in codes and code not in (tokens.source_language, tokens.target_language):
            raise ImportedModelError(f"{code} is none of the tokenizer's languages")
    return replace(
        tokens,
        source_language=source or tokens.source_language,
        target_language=target or tokens.target_language,
    )


def _build(
    folder: Path, imported: Imported, name: str, version: int, precision: Precision, sentences: Sequence[str]
) -> None:
    """Write, verify, certify and replay a version in FOLDER; a float32 twin of an int8 one lies beside it. What takes
    memory runs in one process after another."""
    float32_folder = folder if precision == "fp32" else folder.with_name("float32")
    separately(_write_float32, float32_folder, imported)
    if precision == "int8":
        separately(_write_int8, folder, float32_folder, imported)
    forms: dict[Path, Precision] = {float32_folder: "fp32", folder: precision}
    for where, form in forms.items():
        (where / CERTIFICATE_FILE).write_text("not measured yet\n", encoding="utf-8")
        manifest = _seal(where, imported, form, name, version)
    certificate = certify(imported, manifest, folder, float32_folder, sentences)
    (folder / CERTIFICATE_FILE).write_text(certificate.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (folder / MODEL_CARD_FILE).write_text(model_card(imported, manifest, certificate), encoding="utf-8")
    _seal(folder, imported, precision, name, version)
    separately(_replay, folder)


def _write_float32(folder: Path, imported: Imported) -> None:
    write_float32(folder, imported.architecture.load(imported.weights), imported.tokenization.files)


def _write_int8(folder: Path, float32_folder: Path, imported: Imported) -> None:
    outline = imported.architecture.outline()
    graphs = read_graphs(float32_folder, outline.state_specs, imported.tokenization.vocabulary.shared_size)
    write_graphs(folder, graphs.quantized(), imported.tokenization.files)


def _replay(folder: Path) -> None:
    replay(OnnxModel(folder), read_certificate(folder / CERTIFICATE_FILE))


def _seal(folder: Path, imported: Imported, precision: Precision, name: str, version: int) -> Manifest:
    """Write manifest.json for all other files that FOLDER holds."""
    tokens, decoding, outline = imported.tokenization, imported.decoding, imported.architecture.outline()
    most_made = min(imported.longest, decoding.longest or imported.longest)
    manifest = Manifest(
        format=1,
        name=name,
        version=version,
        family=imported.architecture.configuration.family,
        attention=outline.attention_description,
        precision=precision,
        source_language=tokens.source_language,
        target_language=tokens.target_language,
        max_source_length=imported.longest,
        max_target_length=most_made,
        length_multiple=LENGTH_MULTIPLE,
        num_candidates=NUM_CANDIDATES,
        vocabulary=tokens.vocabulary,
        search=decoding.search,
        encoder=ENCODER_FILE,
        decoder_step=DECODER_STEP_FILE,
        certificate=CERTIFICATE_FILE,
        states=states_of(outline),
        files=records_of(folder),
    )
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest


def padded(length: int) -> int:
    """Rounded up to what lengths are multiples of."""
    return -(-length // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
