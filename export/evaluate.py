"""Scores a published version on a parallel corpus, translating through the runtime that serves.

It does not know how the version was made.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sacrebleu
from sacremoses import MosesPunctNormalizer, MosesTokenizer

from export.agreement import translate_all
from export.errors import CorpusError
from export.training.data import read_lines
from service.model.certificate import Scores
from service.model.onnx_model import OnnxModel
from service.model.vocabulary import Vocabulary

TOKENIZED_FOLDER = "lc_tok"


@dataclass(frozen=True)
class TestSet:
    """One split of a parallel corpus: sources, references, and the references as the literature scores them."""

    __test__ = False

    split: str
    target_language: str
    sources: list[str]
    references: list[str]
    tokenized_references: list[str]


@dataclass(frozen=True)
class Evaluation:
    """The scores on one split, and how fast all of it was translated."""

    scores: Scores
    sentences_per_second: float


def lowercase_and_tokenize(sentences: Sequence[str], language: str) -> list[str]:
    """Lowercased, punctuation normalised, tokenized by Moses' rules with XML escapes: the form in which the
    literature on Multi30k counts BLEU (Elliott et al. 2017, section 4)."""
    normalizer, tokenizer = MosesPunctNormalizer(lang=language), MosesTokenizer(lang=language)
    return [tokenizer.tokenize(normalizer.normalize(text.lower()), return_str=True) for text in sentences]


def read_test_set(corpus: Path, split: str, source_language: str, target_language: str) -> TestSet:
    """Read a split; tokenized references are made here where the corpus has none. Raises CorpusError."""
    sources = read_lines(corpus, split, source_language)
    references = read_lines(corpus, split, target_language)
    if list((corpus / TOKENIZED_FOLDER).glob(f"{split}.{target_language}*")):
        tokenized = read_lines(corpus / TOKENIZED_FOLDER, split, target_language)
    else:
        tokenized = lowercase_and_tokenize(references, target_language)
    if not len(sources) == len(references) == len(tokenized):
        raise CorpusError(
            f"{corpus}: {split} has {len(sources)} source lines, {len(references)} target lines "
            f"and {len(tokenized)} tokenized ones"
        )
    return TestSet(split, target_language, sources, references, tokenized)


def score(test_set: TestSet, hypotheses: Sequence[str]) -> Scores:
    """Every score of one translation of a test set."""
    bleu, chrf = sacrebleu.BLEU(), sacrebleu.CHRF()
    tokenized = lowercase_and_tokenize(hypotheses, test_set.target_language)
    literature = sacrebleu.BLEU(tokenize="none", force=True)
    return Scores(
        split=test_set.split,
        num_sentences=len(hypotheses),
        bleu=_percent(bleu.corpus_score(hypotheses, [test_set.references]).score),
        bleu_signature=str(bleu.get_signature()),
        bleu_lowercased_tokenized=_percent(literature.corpus_score(tokenized, [test_set.tokenized_references]).score),
        chrf=_percent(chrf.corpus_score(hypotheses, [test_set.references]).score),
        chrf_signature=str(chrf.get_signature()),
    )


def encode_sources(model: OnnxModel, vocabulary: Vocabulary, texts: Sequence[str]) -> list[list[int]]:
    """Source ids ending in the end of the sentence; raises CorpusError for a text that is too long."""
    manifest = model.manifest
    sources = [[*vocabulary.encode(text), manifest.vocabulary.end_id] for text in texts]
    for number, source in enumerate(sources, start=1):
        if len(source) > manifest.max_source_length:
            raise CorpusError(
                f"line {number} has {len(source)} tokens, {manifest.name} takes at most {manifest.max_source_length}"
            )
    return sources


def evaluate(model: OnnxModel, test_set: TestSet) -> Evaluation:
    """Translate a test set greedily and score it."""
    manifest = model.manifest
    source_vocabulary = Vocabulary(model.folder / manifest.vocabulary.source, manifest.vocabulary.source_size)
    target_vocabulary = Vocabulary(model.folder / manifest.vocabulary.target, manifest.vocabulary.target_size)
    started = time.monotonic()
    targets = translate_all(model, encode_sources(model, source_vocabulary, test_set.sources))
    hypotheses = [target_vocabulary.decode(target.token_ids) for target in targets]
    seconds = time.monotonic() - started
    return Evaluation(score(test_set, hypotheses), len(hypotheses) / seconds)


def _percent(value: float) -> float:
    """Rounding may leave a perfect score a hair above 100."""
    return min(100.0, value)
