"""Reads a folder of transformers: what its model is in our terms, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
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
from export.imports.imported import Imported
from export.imports.library import Library
from export.imports.limits import DEFAULT_LONGEST, padded
from export.imports.tokenization import Tokenization
from export.imports.weights import Weights

Describe = Callable[[Any, Weights, int], Architecture]
DESCRIBE: dict[str, Describe] = {
    **dict.fromkeys(bart.ARRANGEMENTS, bart.describe),
    "t5": t5.describe,
    "mt5": t5.describe,
}
"""By the model_type of config.json."""
TRANSFORMERS = Library("transformers", "export.hf.original")


def read(
    folder: Path,
    longest: int = DEFAULT_LONGEST,
    *,
    source_language: str | None = None,
    target_language: str | None = None,
) -> Imported:
    """What the folder holds, for sources and targets of at most `longest` tokens. The languages are those of requests
    that name none (default: the tokenizer's). Raises ImportedModelError."""
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
    read_tokens = read_tokenization(load_tokenizer(folder), decoding, *sizes)
    tokenization = _with_languages(read_tokens, source_language, target_language)
    room = architecture.configuration.max_positions // LENGTH_MULTIPLE * LENGTH_MULTIPLE
    name = (config.architectures or [config.model_type])[0]
    longest = min(longest, room)
    return Imported(folder, name, architecture, weights, decoding, tokenization, longest, TRANSFORMERS)


def _described(describe: Describe, config: Any, weights: Weights, longest: int) -> Architecture:
    try:
        return describe(config, weights, longest).with_output_bias().with_whole_heads()
    except ValidationError as error:
        raise ImportedModelError(f"config.json is not supported: {error.errors()[0]['msg']}") from error


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
