"""A parallel corpus as token ids, and batches of similar length under a token budget.

It does not know any model.
"""

from __future__ import annotations

import gzip
import io
import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import sentencepiece
import torch
from torch import Tensor

from export.configuration import DataConfiguration
from export.errors import ConfigurationError, CorpusError
from export.models.control_tokens import BEGIN_ID, END_ID, PAD_ID, UNKNOWN_ID
from service.model.placeholders import hide_pair

Pair = tuple[list[int], list[int]]
"""Source ids ending in `END_ID`, and target ids without begin or end."""


@dataclass(frozen=True)
class Batch:
    """source_ids (batch, source_length), source_lengths (batch,), target_inputs and target_outputs
    (batch, target_length): the target after begin, and the target before end; padded with `PAD_ID`."""

    source_ids: Tensor
    source_lengths: Tensor
    target_inputs: Tensor
    target_outputs: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(*(tensor.to(device) for tensor in vars(self).values()))


def read_lines(corpus: Path, split: str, language: str) -> list[str]:
    """The sentences of SPLIT.LANGUAGE.gz or SPLIT.LANGUAGE, one a line; raises CorpusError."""
    plain, packed = corpus / f"{split}.{language}", corpus / f"{split}.{language}.gz"
    path = packed if packed.exists() else plain
    try:
        content = gzip.decompress(packed.read_bytes()) if path == packed else plain.read_bytes()
        lines = content.decode("utf-8").replace("\r\n", "\n").split("\n")
    except FileNotFoundError as error:
        raise CorpusError(f"neither {packed} nor {plain} exists") from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise CorpusError(f"{path} cannot be read: {error}") from error
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise CorpusError(f"{path} has no sentences")
    return lines


def read_parallel(corpus: Path, split: str, data: DataConfiguration) -> tuple[list[str], list[str]]:
    """Source and target sentences; raises CorpusError, also where the two sides differ in length."""
    source = read_lines(corpus, split, data.source_language)
    target = read_lines(corpus, split, data.target_language)
    if len(source) != len(target):
        raise CorpusError(f"{split}: {len(source)} source lines but {len(target)} target lines")
    return source, target


def read_masked(corpus: Path, split: str, data: DataConfiguration) -> tuple[list[str], list[str]]:
    """As `read_parallel`, with masks for the placeholders of both sides where the configuration has masks; pairs that
    do not have the same placeholders are then left out."""
    source, target = read_parallel(corpus, split, data)
    if not data.masks:
        return source, target
    pairs = [hide_pair(one, other, data.masks) for one, other in zip(source, target, strict=True)]
    kept = [pair for pair in pairs if pair is not None]
    return [one for one, _ in kept], [other for _, other in kept]


def train_vocabulary(sentences: Sequence[str], size: int, path: Path, whole_pieces: Sequence[str] = ()) -> None:
    """Write a SentencePiece BPE model with `size` pieces to `path`; `whole_pieces` are pieces that it never splits.
    A kill leaves no file there or a whole one.

    Raises ConfigurationError where the sentences do not hold so many pieces, or hold more characters.
    """
    content = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=content,
            vocab_size=size,
            model_type="bpe",
            character_coverage=1.0,
            pad_id=PAD_ID,
            unk_id=UNKNOWN_ID,
            bos_id=BEGIN_ID,
            eos_id=END_ID,
            user_defined_symbols=list(whole_pieces),
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ConfigurationError(f"vocabulary_size {size}: {str(error).rpartition('] ')[2]}") from error
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_bytes(content.getvalue())
    temporary.replace(path)


def load_pairs(corpus: Path, split: str, data: DataConfiguration, vocabulary: Path) -> list[Pair]:
    """Every sentence pair of `read_masked` as token ids."""
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(vocabulary))
    source, target = read_masked(corpus, split, data)
    return [([*s, END_ID], t) for s, t in zip(pieces.encode(source), pieces.encode(target), strict=True)]


def token_batches(pairs: Sequence[Pair], batch_tokens: int, seed: int) -> list[list[Pair]]:
    """Shuffled batches of pairs of similar length, each at most `batch_tokens` padded target tokens
    (a single longer pair makes a batch of its own). The same seed gives the same batches."""
    rng = random.Random(seed)
    order = sorted(pairs, key=lambda pair: (len(pair[1]) + rng.random(), len(pair[0]) + rng.random()))
    batches: list[list[Pair]] = [[]]
    longest = 0
    for pair in order:
        longest = max(longest, len(pair[1]) + 1)
        if batches[-1] and longest * (len(batches[-1]) + 1) > batch_tokens:
            batches.append([])
            longest = len(pair[1]) + 1
        batches[-1].append(pair)
    rng.shuffle(batches)
    return batches


def collate(pairs: Sequence[Pair]) -> Batch:
    """Pad pairs into one batch."""
    return Batch(
        source_ids=pad([source for source, _ in pairs]),
        source_lengths=torch.tensor([len(source) for source, _ in pairs]),
        target_inputs=pad([[BEGIN_ID, *target] for _, target in pairs]),
        target_outputs=pad([[*target, END_ID] for _, target in pairs]),
    )


def pad(rows: Sequence[Sequence[int]]) -> Tensor:
    """(rows, longest) int64, filled with `PAD_ID` on the right."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[PAD_ID] * (longest - len(row))] for row in rows])


def share(batches: Sequence[list[Pair]], rank: int, world_size: int) -> Iterator[Batch]:
    """The batches of one process; every process gets the same number, the remainder is left out."""
    for i in range(len(batches) // world_size):
        yield collate(batches[i * world_size + rank])
