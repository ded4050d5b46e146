"""Reads a MODEL.npz of Marian and its vocabularies, as `export.hf.read` a folder of transformers."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from pydantic import ValidationError

from export.errors import ImportedModelError
from export.imports.decoding import Decoding
from export.imports.imported import Imported
from export.imports.library import Library
from export.imports.limits import DEFAULT_LONGEST, padded
from export.marian.architecture import describe
from export.marian.configuration import MarianConfiguration, parse_configuration
from export.marian.original import DEFAULT_LENGTH_FACTOR
from export.marian.vocabulary import read_pieces, tokenization
from export.marian.weights import MarianWeights, read_configuration
from service.model.manifest import Search

INSTALL = "pip install pymarian"


def read(
    model: Path,
    vocabs: tuple[Path, Path],
    longest: int = DEFAULT_LONGEST,
    *,
    normalize: float = 0.0,
    source_language: str | None = None,
    target_language: str | None = None,
) -> Imported:
    """What the files hold, for sources and targets of at most `longest` tokens and Marian's exponent of the length. The
    languages are those of requests that name none (default: undetermined). Raises ImportedModelError, also where Marian
    is not installed, since the certificate compares with it."""
    if normalize < 0.0:
        raise ImportedModelError(f"--normalize {normalize} is below 0, which is not supported")
    config = parse_configuration(read_configuration(model))
    weights = MarianWeights(model)
    try:
        architecture = describe(config, weights, padded(longest))
    except ValidationError as error:
        raise ImportedModelError(f"{weights.described_in} is not supported: {error.errors()[0]['msg']}") from error
    architecture.check(weights)
    source, target = (read_pieces(path, size) for path, size in zip(vocabs, config.vocabulary_sizes, strict=True))
    if (len(source.pieces), len(target.pieces)) != (
        _rows(architecture.source_size, config),
        architecture.target_size - 1,
    ):
        raise ImportedModelError(f"dim-vocabs = {list(config.vocabulary_sizes)} are not the sizes of the embeddings")
    decoding = Decoding(
        search=Search(
            beam_end="empty",
            length_penalty=normalize,
            max_length_factor=DEFAULT_LENGTH_FACTOR,
            suppressed_ids=(target.unknown_id,),
        ),
        begin_id=architecture.target_size - 1,
        end_id=target.end_id,
        forced_id=None,
        impossible_ids=architecture.impossible,
        longest=None,
    )
    library = Library(
        "pymarian",
        "export.marian.original",
        {"vocabs": [str(path.resolve()) for path in vocabs], "normalize": normalize},
    )
    tokens = tokenization(source, target, architecture.source_size, architecture.target_size)
    if find_spec("pymarian") is None:
        raise ImportedModelError(f"the certificate compares with Marian's own translations: {INSTALL}")
    tokens = replace(
        tokens,
        source_language=source_language or tokens.source_language,
        target_language=target_language or tokens.target_language,
    )
    name = "Transformer with an SSRU decoder" if config.recurrent else "Transformer"
    return Imported(model, name, architecture, weights, decoding, tokens, longest, library)


def _rows(source_size: int, config: MarianConfiguration) -> int:
    """Of Marian's own source embedding."""
    return source_size - 1 if config.shared_embedding else source_size
