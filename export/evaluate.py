"""Scores a published version on a parallel corpus, translating through the runtime that serves.

It does not know how the version was made.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sacrebleu

from export.agreement import translate_all
from export.errors import CorpusError
from export.metrics import MOSES_LACKS, bleu, count_kept, lowercase_and_tokenize
from export.training.data import read_lines
from service.model.certificate import PlaceholdersKept, Scores
from service.model.onnx_model import OnnxModel
from service.model.text import Source, Texts, open_texts

TOKENIZED_FOLDER = "lc_tok"


@dataclass(frozen=True)
class TestSet:
    """One split of a parallel corpus: sources, references, and the references as the literature scores them, none
    for a target language without Moses' rules."""

    __test__ = False

    split: str
    target_language: str
    sources: list[str]
    references: list[str]
    tokenized_references: list[str] | None


@dataclass(frozen=True)
class Evaluation:
    """The scores on one split, and how fast all of it was translated."""

    scores: Scores
    sentences_per_second: float


def read_test_set(corpus: Path, split: str, source_language: str, target_language: str) -> TestSet:
    """Read a split; tokenized references are made here where the corpus has none. Raises CorpusError."""
    sources = read_lines(corpus, split, source_language)
    references = read_lines(corpus, split, target_language)
    if len(sources) != len(references):
        raise CorpusError(f"{corpus}: {split} has {len(sources)} source lines, {len(references)} target lines")
    tokenized = None if target_language in MOSES_LACKS else _tokenized(corpus, split, target_language, references)
    return TestSet(split, target_language, sources, references, tokenized)


def _tokenized(corpus: Path, split: str, language: str, references: list[str]) -> list[str]:
    if not list((corpus / TOKENIZED_FOLDER).glob(f"{split}.{language}*")):
        return lowercase_and_tokenize(references, language)
    lines = read_lines(corpus / TOKENIZED_FOLDER, split, language)
    if len(lines) != len(references):
        raise CorpusError(f"{corpus}: {split} has {len(references)} target lines, but {len(lines)} tokenized ones")
    return lines


def score(test_set: TestSet, hypotheses: Sequence[str]) -> Scores:
    """Every score of one translation of a test set."""
    cased, chrf = bleu(test_set.target_language), sacrebleu.CHRF()
    num_with_placeholders, num_kept = count_kept(test_set.sources, hypotheses)
    return Scores(
        split=test_set.split,
        num_sentences=len(hypotheses),
        bleu=_percent(cased.corpus_score(hypotheses, [test_set.references]).score),
        bleu_signature=str(cased.get_signature()),
        bleu_lowercased_tokenized=_score_as_literature(test_set, hypotheses),
        chrf=_percent(chrf.corpus_score(hypotheses, [test_set.references]).score),
        chrf_signature=str(chrf.get_signature()),
        placeholders_kept=PlaceholdersKept(num_with_placeholders=num_with_placeholders, num_kept=num_kept)
        if num_with_placeholders
        else None,
    )


def _score_as_literature(test_set: TestSet, hypotheses: Sequence[str]) -> float | None:
    if test_set.tokenized_references is None:
        return None
    tokenized = lowercase_and_tokenize(hypotheses, test_set.target_language)
    literature = sacrebleu.BLEU(tokenize="none", force=True)
    return _percent(literature.corpus_score(tokenized, [test_set.tokenized_references]).score)


def describe(scores: Scores) -> list[str]:
    """One line for each score."""
    lines = [f"BLEU {scores.bleu:.2f}  {scores.bleu_signature}"]
    if scores.bleu_lowercased_tokenized is not None:
        lines.append(f"BLEU {scores.bleu_lowercased_tokenized:.2f}  lowercased, Moses-tokenized, as the literature")
    lines.append(f"chrF {scores.chrf:.2f}  {scores.chrf_signature}")
    if kept := scores.placeholders_kept:
        lines.append(f"placeholders kept in {kept.num_kept} of the {kept.num_with_placeholders} sentences with any")
    return lines


def read_sources(model: OnnxModel, texts: Texts, sentences: Sequence[str]) -> list[Source]:
    """Sentences as the model reads them; raises CorpusError for one that it cannot take."""
    manifest = model.manifest
    sources = []
    for number, sentence in enumerate(sentences, start=1):
        try:
            source = texts.read(sentence)
        except ValueError as error:
            raise CorpusError(f"line {number}: {error}") from error
        if len(source.ids) > manifest.max_source_length:
            most = manifest.max_source_length
            raise CorpusError(f"line {number} has {len(source.ids)} tokens, {manifest.name} takes at most {most}")
        sources.append(source)
    return sources


def evaluate(model: OnnxModel, test_set: TestSet) -> Evaluation:
    """Translate a test set greedily and score it."""
    started = time.monotonic()
    hypotheses = translate(model, test_set.sources)
    seconds = time.monotonic() - started
    return Evaluation(score(test_set, hypotheses), len(hypotheses) / seconds)


def translate(model: OnnxModel, sentences: Sequence[str]) -> list[str]:
    """Greedy translations; raises CorpusError for a sentence that the model cannot take."""
    texts = open_texts(model.manifest, model.folder)
    sources = read_sources(model, texts, sentences)
    targets = translate_all(model, [source.ids for source in sources])
    return [texts.write(target.token_ids, source) for target, source in zip(targets, sources, strict=True)]


def _percent(value: float) -> float:
    """Rounding may leave a perfect score a hair above 100."""
    return min(100.0, value)
