"""Two SentencePiece models as a version's vocabularies: their own ids, and one more token that targets begin with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import sentencepiece

from export.errors import ImportedModelError
from export.imports.tokenization import UNDETERMINED, Tokenization
from service.model.vocabulary_files import VocabularyFiles

SOURCE, TARGET = "source", "target"


@dataclass(frozen=True)
class PieceModel:
    """A SentencePiece model: the content of its file, its pieces by id, and those that stand for no text."""

    content: bytes
    pieces: tuple[str, ...]
    controls: frozenset[int]
    end_id: int
    unknown_id: int


def read_pieces(path: Path, size: int) -> PieceModel:
    """Of `size` pieces; raises ImportedModelError for another number, and for what is no SentencePiece model."""
    if not path.is_file():
        raise ImportedModelError(f"{path} is no file; --vocab takes the two .spm files of the model")
    content = path.read_bytes()
    try:
        model = sentencepiece.SentencePieceProcessor(model_proto=content)
    except RuntimeError as error:
        raise ImportedModelError(
            f"{path} is no SentencePiece model; vocabularies of words or factors (.yml, .fsv) are not supported"
        ) from error
    found = model.get_piece_size()
    if found != size:
        raise ImportedModelError(f"{path} has {found} pieces, the model {size} tokens: they do not belong together")
    if model.eos_id() < 0 or model.unk_id() < 0:
        raise ImportedModelError(f"{path} has no </s> or no <unk>, which Marian needs")
    ids = range(found)
    return PieceModel(
        content=content,
        pieces=tuple(model.id_to_piece(i) for i in ids),
        controls=frozenset(i for i in ids if model.is_control(i)),
        end_id=model.eos_id(),
        unknown_id=model.unk_id(),
    )


def tokenization(source: PieceModel, target: PieceModel, source_size: int, target_size: int) -> Tokenization:
    """For a model whose tables have these sizes, the token that targets begin with last. Both must have the same ids
    for what stands for no text; raises ImportedModelError."""
    if (source.end_id, source.unknown_id) != (target.end_id, target.unknown_id):
        raise ImportedModelError("source and target have other ids for </s> or <unk>, which is not supported")
    begin_id = target_size - 1
    files = {
        f"{side}.{ending}": content
        for side, model in ((SOURCE, source), (TARGET, target))
        for ending, content in (("model", model.content), ("json", _ids(model.pieces)))
    }
    return Tokenization(
        VocabularyFiles(
            kind="pieces",
            source=f"{SOURCE}.model",
            target=f"{TARGET}.model",
            source_pieces=f"{SOURCE}.json",
            target_pieces=f"{TARGET}.json",
            source_size=source_size,
            target_size=target_size,
            begin_id=begin_id,
            end_id=target.end_id,
            unknown_id=target.unknown_id,
            control_ids=tuple(sorted({*source.controls, *target.controls, target.end_id, begin_id})),
        ),
        files,
        UNDETERMINED,
        UNDETERMINED,
    )


def _ids(pieces: tuple[str, ...]) -> bytes:
    return json.dumps({piece: i for i, piece in enumerate(pieces)}, ensure_ascii=False).encode()
