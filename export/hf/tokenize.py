"""Loads what a folder of transformers holds besides weights, and gives a text to its tokenizer as its users do."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from export.errors import ImportedModelError, one_line

TOKENIZER_FILES = (
    "tokenizer.json",
    "source.spm",
    "sentencepiece.bpe.model",
    "spiece.model",
    "vocab.json",
)
"""Of which a folder has one, or transformers would make a tokenizer without any vocabulary."""


def load_configurations(folder: Path) -> tuple[Any, Any]:
    """config.json, and generation_config.json or what config.json says in its place; raises ImportedModelError."""
    from transformers import AutoConfig, GenerationConfig

    if not (folder / "config.json").is_file():
        raise ImportedModelError(f"{folder} has no config.json, as save_pretrained writes it")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)  # nosec B615
        if (folder / "generation_config.json").is_file():
            return config, GenerationConfig.from_pretrained(folder, local_files_only=True)  # nosec B615
        return config, GenerationConfig.from_model_config(config)
    except Exception as error:
        raise ImportedModelError(f"{folder}: config.json cannot be read: {one_line(error)}") from error


def load_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer; raises ImportedModelError."""
    from transformers import AutoTokenizer

    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ImportedModelError(f"{folder} has no tokenizer: none of {', '.join(TOKENIZER_FILES)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return AutoTokenizer.from_pretrained(folder, local_files_only=True)  # nosec B615
    except Exception as error:
        raise ImportedModelError(f"{folder}: the tokenizer cannot be loaded: {one_line(error)}") from error


def arguments_of(
    tokenizer: Any, text: str, source_language: str, target_language: str
) -> tuple[list[int], dict[str, Any]]:
    """The ids of a text, and what `generate` is told of its target language."""
    if source_language and hasattr(tokenizer, "src_lang"):
        tokenizer.src_lang = source_language
    arguments: dict[str, Any] = {}
    if target_language and hasattr(tokenizer, "src_lang"):
        get = getattr(tokenizer, "get_lang_id", tokenizer.convert_tokens_to_ids)
        arguments["forced_bos_token_id"] = get(target_language)
    elif target_language:
        text = f">>{target_language}<< {text}"
    ids: list[int] = tokenizer(text)["input_ids"]
    return ids, arguments
