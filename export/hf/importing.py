"""From a folder of transformers to a version in the model store: mapped, exported, verified, compared with the
translations of transformers token for token, and there all at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from export.bundle import LENGTH_MULTIPLE
from export.errors import ImportedModelError
from export.hf import bart, t5
from export.hf.search import read_decoding
from export.hf.tokenize import load_configurations, load_tokenizer
from export.hf.vocabulary import read_tokenization
from export.imports.architecture import Architecture
from export.imports.imported import Imported, Library
from export.imports.publish import DEFAULT_LONGEST, name_of, padded, publish
from export.imports.tokenization import Tokenization
from export.imports.weights import Weights
from service.model.manifest import Precision

Describe = Callable[[Any, Weights, int], Architecture]
DESCRIBE: dict[str, Describe] = {
    **dict.fromkeys(bart.ARRANGEMENTS, bart.describe),
    "t5": t5.describe,
    "mt5": t5.describe,
}
"""By the model_type of config.json."""
TRANSFORMERS = Library("transformers", "export.hf.original")


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
    longest = min(longest, room)
    return Imported(folder, name, architecture, weights, decoding, tokenization, longest, TRANSFORMERS)


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
