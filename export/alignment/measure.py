"""Alignment error rates of every layer and head on a split of a corpus, against statistical alignments.

There are no alignments by people for these corpora. Sure links are those that both directions of `fast_align` find,
possible ones those that either finds, trained on the words of the training split and of the measured one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import sentencepiece

from export.alignment.attention import AttentionRows
from export.alignment.fast_align import Links, align_both_ways
from export.alignment.words import Sentence, read_sentences
from export.configuration import DataConfiguration
from export.errors import CorpusError
from export.models.contract import TranslationModel
from export.training.data import read_parallel

MEASURE = (
    "alignment error rate of words (Och and Ney 2003) on the reference translations, each target piece linked to the "
    "source piece that weighs most in the step that produces it, against fast_align (Dyer et al. 2013) in both "
    "directions: links of both are sure, links of either possible"
)


@dataclass(frozen=True)
class Choice:
    """Heads of a layer, from 0, and the alignment error rate of their mean: 0 is best, 1 worst."""

    layer: int
    heads: tuple[int, ...]
    error_rate: float


def error_rate(found: Sequence[Links], sure: Sequence[Links], possible: Sequence[Links]) -> float:
    """1 - (|A and S| + |A and P|) / (|A| + |S|) over all sentences (Och and Ney 2003, section 5.1). Sure links are
    possible ones too; 1 where nothing is found and nothing is sure."""
    hits = sum(len(a & s) + len(a & p) for a, s, p in zip(found, sure, possible, strict=True))
    total = sum(len(a) + len(s) for a, s in zip(found, sure, strict=True))
    return 1 - hits / total if total else 1.0


def measure(
    model: TranslationModel,
    vocabulary: Path,
    corpus: Path,
    split: str,
    data: DataConfiguration,
    limits: tuple[int, int],
) -> list[Choice]:
    """Every choice of layer and heads that is worth asking for, best first. limits: the most pieces of a source and of
    a target; raises CorpusError, also for a longer sentence."""
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(vocabulary))
    training, measured = read_parallel(corpus, data.train, data), read_parallel(corpus, split, data)
    sources, targets = (read_sentences(one + other, pieces) for one, other in zip(training, measured, strict=True))
    first = len(training[0])
    for sentences, limit in zip((sources, targets), limits, strict=True):
        _require_short(sentences[first:], split, limit)
    reference = align_both_ways([s.words for s in sources], [t.words for t in targets])[first:]
    rows = AttentionRows(model, sources[first:], targets[first:])
    return rank(rows, [sure for sure, _ in reference], [possible for _, possible in reference])


def rank(rows: AttentionRows, sure: Sequence[Links], possible: Sequence[Links]) -> list[Choice]:
    """Of each layer every single head, and the mean of its best two, three, up to all; fewer heads first where two are
    equally good."""

    def choice(layer: int, heads: tuple[int, ...]) -> Choice:
        return Choice(layer, heads, error_rate(rows.links(layer, heads), sure, possible))

    def of_layer(layer: int) -> Iterator[Choice]:
        single = sorted((choice(layer, (head,)) for head in range(rows.num_heads)), key=lambda one: one.error_rate)
        yield from single
        for size in range(2, rows.num_heads + 1):
            yield choice(layer, tuple(sorted(one.heads[0] for one in single[:size])))

    choices = [one for layer in range(rows.num_layers) for one in of_layer(layer)]
    return sorted(choices, key=lambda one: (one.error_rate, len(one.heads)))


def _require_short(sentences: Sequence[Sentence], split: str, limit: int) -> None:
    longest = max(len(sentence.piece_ids) for sentence in sentences)
    if longest > limit:
        raise CorpusError(f"{split} has a sentence of {longest} pieces, the model takes at most {limit}")
