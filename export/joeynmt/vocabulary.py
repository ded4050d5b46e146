"""What JoeyNMT's vocabularies and tokenizers are in a version's terms."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencepiece
from google.protobuf.message import DecodeError

from export.errors import ImportedModelError
from export.imports.tokenization import UNDETERMINED, Tokenization
from export.joeynmt.configuration import CONFIGURATION_FILE, Data, Side, SpecialSymbols
from service.model.table_vocabulary import VocabularyTable
from service.model.vocabulary_files import LANGUAGE_CODE, VocabularyFiles

SPACE = "\u2581"
"""What stands for a space among characters."""
Content = dict[str, bytes]


@dataclass(frozen=True)
class _Vocabulary:
    """Of one side: its tokens by id, and its files by the ends of their names, the first of which a manifest names."""

    tokens: tuple[str, ...]
    files: Content


def read_tokenization(folder: Path, data: Data, source_size: int, target_size: int) -> Tokenization:
    """Of a model of these sizes; raises ImportedModelError."""
    are_pieces = data.src.level == "bpe"
    if (data.trg.level == "bpe") is not are_pieces:
        raise ImportedModelError(
            f"data.src.level is {data.src.level} and data.trg.level is {data.trg.level}; bpe on one side alone is not "
            "supported"
        )
    symbols = data.special_symbols
    source = _read(folder, "src", data.src, symbols, source_size)
    target = _read(folder, "trg", data.trg, symbols, target_size)
    files = {
        f"{side}{ending}": content
        for side, one in (("source", source), ("target", target))
        for ending, content in one.files.items()
    }
    ending = ".model" if are_pieces else ".json"
    sides = (("source", data.src), ("target", data.trg))
    return Tokenization(
        VocabularyFiles(
            kind="pieces" if are_pieces else "table",
            source=f"source{ending}",
            target=f"target{ending}",
            source_pieces="source.json" if are_pieces else None,
            target_pieces="target.json" if are_pieces else None,
            source_size=source_size,
            target_size=target_size,
            begin_id=symbols.bos_id,
            end_id=symbols.eos_id,
            unknown_id=symbols.unk_id,
            control_ids=_controls(symbols) if are_pieces else (),
            lowercase=tuple(name for name, side in sides if side.lowercase) if are_pieces else (),
        ),
        files,
        _language(data.src.lang),
        _language(data.trg.lang),
    )


def find_vocabulary(folder: Path, name: str, side: Side) -> Path:
    """The file with the tokens of a side, "src" or "trg"; raises ImportedModelError."""
    return _find(folder, side.voc_file, f"{name}_vocab.txt", f"data.{name}.voc_file")


def find_model(folder: Path, name: str, side: Side) -> Path:
    """The SentencePiece model of a side; raises ImportedModelError."""
    named = side.tokenizer_cfg.model_file
    if named is None:
        raise ImportedModelError(f"data.{name}.tokenizer_cfg.model_file is missing in {CONFIGURATION_FILE}")
    return _find(folder, named, Path(named).name, f"data.{name}.tokenizer_cfg.model_file")


def _language(code: str) -> str:
    return code if re.fullmatch(LANGUAGE_CODE, code) else UNDETERMINED


def _controls(symbols: SpecialSymbols) -> tuple[int, ...]:
    """Tokens that stand for no text; an unknown one is written as such."""
    return tuple(sorted((symbols.pad_id, symbols.bos_id, symbols.eos_id)))


def _read(folder: Path, name: str, side: Side, symbols: SpecialSymbols, size: int) -> _Vocabulary:
    path = find_vocabulary(folder, name, side)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except ValueError as error:
        raise ImportedModelError(f"{path} is no list of tokens in UTF-8") from error
    tokens = tuple(dict.fromkeys([*symbols.tokens.values(), *lines]))
    for token_id, token in symbols.tokens.items():
        if tokens.index(token) != token_id:
            raise ImportedModelError(
                f"{path} has {token} as token {tokens.index(token)}, data.special_symbols as {token_id}"
            )
    if len(tokens) != size:
        raise ImportedModelError(f"{path} has {len(tokens)} tokens, the model has {size}: they do not belong together")
    if side.level != "bpe":
        return _Vocabulary(tokens, {".json": _table(path, side, symbols, tokens)})
    pieces = json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False)
    return _Vocabulary(tokens, {".model": _pieces(folder, name, side, tokens), ".json": pieces.encode()})


def _table(path: Path, side: Side, symbols: SpecialSymbols, tokens: tuple[str, ...]) -> bytes:
    if "" in tokens:
        raise ImportedModelError(f"{path} has an empty token, {tokens.index('')}, which is not supported")
    table = VocabularyTable(
        kind="characters" if side.level == "char" else "pieces",
        tokens=tokens,
        controls=_controls(symbols),
        unknown_id=symbols.unk_id,
        mark=SPACE if side.level == "char" else "",
        lowercase=side.lowercase,
    )
    return (table.model_dump_json(indent=1, exclude_defaults=True) + "\n").encode()


def _pieces(folder: Path, name: str, side: Side, tokens: tuple[str, ...]) -> bytes:
    """The SentencePiece model, which makes no pieces that the vocabulary has not, as JoeyNMT tells it: others are
    unused, unless they are one character or stand for more than text (SentencePieceProcessor::SetVocabulary)."""
    from sentencepiece import sentencepiece_model_pb2

    path = find_model(folder, name, side)
    protobuf: Any = sentencepiece_model_pb2
    model = protobuf.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
        sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
    except (DecodeError, RuntimeError) as error:
        raise ImportedModelError(f"{path} is no SentencePiece model, or is cut short") from error
    known, piece_type = set(tokens), protobuf.ModelProto.SentencePiece
    for piece in model.pieces:
        if piece.type in (piece_type.NORMAL, piece_type.UNUSED):
            is_used = piece.piece in known or len(piece.piece) == 1
            piece.type = piece_type.NORMAL if is_used else piece_type.UNUSED
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _find(folder: Path, named: str | None, otherwise: str, field: str) -> Path:
    """A file of the folder; a configuration names the place that it had in training."""
    names = dict.fromkeys([Path(named).name if named else otherwise, otherwise])
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ImportedModelError(f"{folder} lacks {' and '.join(names)}, of {field}")
