"""Greedy translations without a server, for whoever holds a server's against them: `python -m service.model.offline`.

Reads one JSON object from stdin: model_store, model, version (0: the newest), max_length (0: the model's most) and
texts. Writes one: version, and for each text its token_ids and its text, or null for one that is too long. Each
sentence is translated alone, in one row, by onnxruntime on the CPU.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from service.model.errors import BundleError, ModelError
from service.model.greedy import translate_greedily
from service.model.languages import UnknownLanguageError
from service.model.onnx_model import OnnxModel
from service.model.placeholders import TooManyPlaceholdersError
from service.model.session import Provider
from service.model.store import StoredVersion, list_versions
from service.model.text import Source, Texts, open_texts

PROVIDERS: tuple[Provider, ...] = (("CPUExecutionProvider", {}),)


def translate_offline(
    store: Path, model: str, version: int, texts: list[str], *, max_length: int = 0
) -> tuple[int, list[tuple[list[int], str] | None]]:
    """The version that translates, and the tokens and the text of each translation, None for a text that the model does
    not take. Raises ModelError."""
    found = _find(store, model, version)
    onnx_model = OnnxModel(found.folder, providers=PROVIDERS, num_threads=1)
    vocabulary = open_texts(onnx_model.manifest, found.folder, onnx_model.files)

    def translate(text: str) -> tuple[list[int], str] | None:
        source = _read(vocabulary, text)
        if source is None or len(source.ids) > onnx_model.manifest.max_source_length:
            return None
        (target,) = translate_greedily(
            onnx_model, [source.ids], prefixes=[source.target_prefix], max_rows=1, max_length=max_length or None
        )
        return target.token_ids, vocabulary.write(target.token_ids, source)

    return found.version, [translate(text) for text in texts]


def _find(store: Path, model: str, version: int) -> StoredVersion:
    versions = [one for one in list_versions(store) if one.name == model and version in (0, one.version)]
    if not versions:
        raise BundleError(f"{store} has no {model}{f' version {version}' if version else ''}")
    return versions[-1]


def _read(texts: Texts, text: str) -> Source | None:
    try:
        return texts.read(text)
    except (TooManyPlaceholdersError, UnknownLanguageError):
        return None


def _main() -> int:
    asked: dict[str, Any] = json.load(sys.stdin)
    try:
        version, translations = translate_offline(
            Path(asked["model_store"]),
            asked["model"],
            asked["version"],
            asked["texts"],
            max_length=asked["max_length"],
        )
    except ModelError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    targets = [None if one is None else {"token_ids": one[0], "text": one[1]} for one in translations]
    json.dump({"version": version, "targets": targets}, sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(_main())
