"""Reads a folder that JoeyNMT's training made, as `export.hf.read` one of transformers."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path

from pydantic import ValidationError

from export.bundle import LENGTH_MULTIPLE
from export.errors import ImportedModelError
from export.imports.architecture import Architecture
from export.imports.decoding import Decoding
from export.imports.imported import Imported
from export.imports.library import Library
from export.imports.limits import DEFAULT_LONGEST, padded
from export.imports.weights import Weights
from export.joeynmt import recurrent, transformer
from export.joeynmt.checkpoint import Checkpoint, find_checkpoint
from export.joeynmt.configuration import (
    CONFIGURATION_FILE,
    Configuration,
    Model,
    RecurrentDecoder,
    RecurrentEncoder,
    TransformerDecoder,
    TransformerEncoder,
    read_configuration,
)
from export.joeynmt.vocabulary import read_tokenization
from service.model.manifest import Search

MOST_POSITIONS = 5000 // LENGTH_MULTIPLE * LENGTH_MULTIPLE
"""JoeyNMT's Transformer has sinusoids for 5000."""
INSTALL = (
    "pip install --target joeynmt-library --no-deps joeynmt==2.3.0 sentencepiece==0.2.1 subword-nmt "
    "'importlib-metadata<9' zipp"
)
"""Without its dependencies, which would bring a protobuf that is too old for what serves; with the last SentencePiece
that it can run with."""


def read(folder: Path, library: Path, longest: int = DEFAULT_LONGEST) -> Imported:
    """What the folder holds, for sources and targets of at most `longest` tokens, to be compared with the JoeyNMT that
    is installed in another one; raises ImportedModelError."""
    installed = _installed_in(library)
    if not folder.is_dir():
        raise ImportedModelError(f"{folder} is no folder; it is the model_dir of JoeyNMT's training that is imported")
    config = read_configuration(folder)
    weights = Checkpoint(find_checkpoint(folder, config.testing.load_model))
    longest = min(longest, MOST_POSITIONS)
    architecture = _described(config.model, weights, padded(longest))
    architecture.check(weights)
    return Imported(
        folder,
        _name(config.model),
        architecture,
        weights,
        _decoding(config),
        read_tokenization(folder, config.data, architecture.source_size, architecture.target_size),
        longest,
        installed,
    )


def _installed_in(folder: Path) -> Library:
    """Raises ImportedModelError where there is none."""
    library = Library("joeynmt", "export.joeynmt.original", folder=folder.resolve())
    try:
        library.version  # noqa: B018
    except PackageNotFoundError as error:
        raise ImportedModelError(
            f"{folder} has no JoeyNMT, with which an import is compared; install it there: {INSTALL}"
        ) from error
    return library


def _described(model: Model, weights: Weights, longest: int) -> Architecture:
    try:
        match model.encoder, model.decoder:
            case RecurrentEncoder() as encoder, RecurrentDecoder() as decoder:
                return recurrent.describe(model, encoder, decoder, weights, longest)
            case TransformerEncoder() as encoder, TransformerDecoder() as decoder:
                architecture = transformer.describe(model, encoder, decoder, weights, longest)
                return architecture.with_output_bias().with_whole_heads()
    except ValidationError as error:
        raise ImportedModelError(f"{CONFIGURATION_FILE} is not supported: {error.errors()[0]['msg']}") from error
    raise ImportedModelError(
        f"model.encoder.type is {model.encoder.type} and model.decoder.type is {model.decoder.type}, "
        "which is not supported"
    )


def _name(model: Model) -> str:
    if isinstance(model.decoder, RecurrentDecoder):
        return f"{model.decoder.rnn_type.upper()} with attention of {model.decoder.attention.capitalize()}"
    return "Transformer"


def _decoding(config: Configuration) -> Decoding:
    """As joeynmt.search has it: no target is empty, and none has tokens that only stand for something else."""
    symbols, testing = config.data.special_symbols, config.testing
    suppressed = {symbols.bos_id, symbols.pad_id, *(() if testing.generate_unk else (symbols.unk_id,))}
    return Decoding(
        search=Search(
            beam_end="places",
            length_penalty=max(testing.beam_alpha, 0.0),
            length_norm="gnmt",
            min_length=1,
            suppressed_ids=tuple(sorted(suppressed)),
        ),
        begin_id=symbols.bos_id,
        end_id=symbols.eos_id,
        forced_id=None,
        impossible_ids=(),
        longest=testing.max_output_length if testing.max_output_length > 0 else None,
    )
