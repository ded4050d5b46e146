"""What a translation is measured by: sentences in, figures out. It knows neither models nor files."""

from __future__ import annotations

from collections.abc import Sequence

import sacrebleu
from sacremoses import MosesPunctNormalizer, MosesTokenizer

from export.errors import ConfigurationError
from service.model.placeholders import count_placeholders

MOSES_LACKS = ("ja", "ko", "zh")
"""Languages that Moses' rules cannot tokenize; sacreBLEU has a tokenizer of its own for each."""


def bleu(target_language: str) -> sacrebleu.BLEU:
    """Cased sacreBLEU with its tokenizer for the language: MeCab for Korean and Japanese, 13a where it has no other.

    Raises ConfigurationError where that tokenizer is not installed.
    """
    try:
        return sacrebleu.BLEU(trg_lang=target_language)
    except RuntimeError as error:
        raise ConfigurationError(f"BLEU of {target_language} needs sacrebleu[{target_language}]") from error


def lowercase_and_tokenize(sentences: Sequence[str], language: str) -> list[str]:
    """Lowercased, punctuation normalised, tokenized by Moses' rules with XML escapes: the form in which the
    literature on Multi30k counts BLEU (Elliott et al. 2017, section 4)."""
    normalizer, tokenizer = MosesPunctNormalizer(lang=language), MosesTokenizer(lang=language)
    return [tokenizer.tokenize(normalizer.normalize(text.lower()), return_str=True) for text in sentences]


def count_kept(sources: Sequence[str], hypotheses: Sequence[str]) -> tuple[int, int]:
    """How many sources hold placeholders, and how many of their translations hold exactly the same, in any order."""
    pairs = [(count_placeholders(source), hypothesis) for source, hypothesis in zip(sources, hypotheses, strict=True)]
    kept = [wanted == count_placeholders(hypothesis) for wanted, hypothesis in pairs if wanted]
    return len(kept), sum(kept)
