"""Writes the files of a version into a folder: graphs, vocabulary, manifest. It measures nothing.

The same checkpoint gives the same graphs, byte by byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import sentencepiece

from export.calibrate import measure_ranges
from export.checkpoint import VOCABULARY_FILE
from export.configuration import TrainingConfiguration
from export.errors import PublishError
from export.graph_file import write_graph
from export.graphs import DecoderStepGraph, EncoderGraph
from export.models.contract import StateSpec, TranslationModel
from export.models.control_tokens import BEGIN_ID, END_ID
from export.quantize import quantize
from export.to_onnx import to_graph, to_onnx
from export.version_files import (
    CERTIFICATE_FILE,
    DECODER_STEP_FILE,
    ENCODER_FILE,
    WEIGHTS_FILE,
    records_of,
    save_manifest,
    weights_of,
)
from export.weights_writer import WeightsWriter
from service.heap import trim
from service.model.file_record import MAX_FILE_BYTES
from service.model.manifest import Manifest, Precision, State
from service.model.vocabulary_files import Mask, VocabularyFiles

NUM_CANDIDATES = 8
MAX_LENGTH = 256
LENGTH_MULTIPLE = 16


@dataclass(frozen=True)
class Graphs:
    """Both graphs of one precision."""

    encoder: onnx.ModelProto
    decoder_step: onnx.ModelProto
    precision: Precision
    states: tuple[StateSpec, ...]
    vocabulary_size: int

    def quantized(self) -> Graphs:
        """The 8-bit form of float32 graphs."""
        ranges = measure_ranges(self.encoder, self.decoder_step, self.states, self.vocabulary_size)
        return replace(
            self,
            encoder=quantize(self.encoder, ranges.encoder),
            decoder_step=quantize(self.decoder_step, ranges.decoder_step),
            precision="int8",
        )


def export_graphs(model: TranslationModel) -> Graphs:
    """The float32 graphs of a model."""
    return Graphs(
        encoder=to_onnx(EncoderGraph(model)),
        decoder_step=to_onnx(DecoderStepGraph(model, NUM_CANDIDATES, MAX_LENGTH)),
        precision="fp32",
        states=model.state_specs,
        vocabulary_size=model.vocabulary_size,
    )


def write_graphs(folder: Path, graphs: Graphs, vocabulary: Mapping[str, bytes]) -> None:
    """Create FOLDER with both graphs and the vocabulary's files, by their names. Raises PublishError for a graph that
    one file cannot hold."""
    folder.mkdir()
    for name, graph in ((ENCODER_FILE, graphs.encoder), (DECODER_STEP_FILE, graphs.decoder_step)):
        size = sum(len(tensor.raw_data) for tensor in graph.graph.initializer)
        if size > MAX_FILE_BYTES:
            most = f"one file holds {MAX_FILE_BYTES / 1e9:.1f}"
            raise PublishError(f"{name} has {size / 1e9:.1f} GB of weights in {graphs.precision}; {most}")
        (folder / name).write_bytes(graph.SerializeToString(deterministic=True))
    _write_files(folder, vocabulary)


def write_float32(folder: Path, model: TranslationModel, vocabulary: Mapping[str, bytes]) -> None:
    """As `write_graphs`, of a model's float32 graphs, one after another, with no weight in memory twice, and with the
    large weights of a graph that cannot hold them in a file beside it."""
    folder.mkdir()
    beside = WeightsWriter(folder / WEIGHTS_FILE)
    step = DecoderStepGraph(model, NUM_CANDIDATES, MAX_LENGTH)
    for name, graph in ((ENCODER_FILE, EncoderGraph(model)), (DECODER_STEP_FILE, step)):
        write_graph(folder / name, to_graph(graph), beside)
        trim()
    _write_files(folder, vocabulary)


def read_graphs(folder: Path, states: Sequence[StateSpec], vocabulary_size: int) -> Graphs:
    """The float32 graphs in FOLDER."""
    return Graphs(
        encoder=onnx.load(folder / ENCODER_FILE),
        decoder_step=onnx.load(folder / DECODER_STEP_FILE),
        precision="fp32",
        states=tuple(states),
        vocabulary_size=vocabulary_size,
    )


def vocabulary_of(checkpoint: Path) -> dict[str, bytes]:
    """The files of a checkpoint's vocabulary, by their names."""
    return {VOCABULARY_FILE: (checkpoint / VOCABULARY_FILE).read_bytes()}


def write_manifest(
    folder: Path, config: TrainingConfiguration, model: TranslationModel, precision: Precision, name: str, version: int
) -> Manifest:
    """Write manifest.json for all other files that FOLDER holds."""
    manifest = Manifest(
        format=1,
        name=name,
        version=version,
        family=config.model.family,
        attention=model.attention_description,
        precision=precision,
        source_language=config.data.source_language,
        target_language=config.data.target_language,
        max_source_length=min(MAX_LENGTH, model.longest_source or MAX_LENGTH),
        max_target_length=MAX_LENGTH,
        length_multiple=LENGTH_MULTIPLE,
        num_candidates=NUM_CANDIDATES,
        vocabulary=VocabularyFiles(
            source=VOCABULARY_FILE,
            target=VOCABULARY_FILE,
            source_size=model.vocabulary_size,
            target_size=model.vocabulary_size,
            begin_id=BEGIN_ID,
            end_id=END_ID,
            masks=_masks(folder, config.data.masks),
        ),
        encoder=ENCODER_FILE,
        decoder_step=DECODER_STEP_FILE,
        certificate=CERTIFICATE_FILE,
        states=states_of(model),
        weights=weights_of(folder),
        files=records_of(folder),
    )
    save_manifest(folder, manifest)
    return manifest


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def states_of(model: TranslationModel) -> tuple[State, ...]:
    """A model's states as a manifest lists them."""
    return tuple(State(name=spec.name, kind=spec.kind, dtype="float32", axes=spec.axes) for spec in model.state_specs)


def _masks(folder: Path, pieces: Sequence[str]) -> tuple[Mask, ...]:
    vocabulary = sentencepiece.SentencePieceProcessor(model_file=str(folder / VOCABULARY_FILE))
    ids = [vocabulary.piece_to_id(piece) for piece in pieces]
    return tuple(Mask(piece=piece, source_id=i, target_id=i) for piece, i in zip(pieces, ids, strict=True))
