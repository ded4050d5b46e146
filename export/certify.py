"""Makes every measurement of a certificate: parity, agreement, invariance, cost of quantization, scores, golden
sentences. It writes no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from export.agreement import choose_golden, is_stable, measure_quantization, translate_all
from export.environment import environment
from export.errors import TokensDifferError
from export.evaluate import TestSet, read_sources, score, translate
from export.invariance import check_invariance
from export.models.contract import TranslationModel
from export.parity import check_parity, measure_agreement
from export.standards import BUILT_IN_SENTENCES, LARGEST_QUANTIZATION_COST, SMALLEST_AGREEMENT, TOLERANCES
from export.verify import Grid
from service.model.certificate import Certificate, Scores
from service.model.greedy import Target
from service.model.onnx_model import OnnxModel
from service.model.text import open_texts


@dataclass(frozen=True)
class Subject:
    """What a certificate is about: the model, its float32 graphs, and those published (the same if float32)."""

    torch_model: TranslationModel
    float32: OnnxModel
    shipped: OnnxModel
    weights_sha256: str


@dataclass(frozen=True)
class _Candidate:
    """A sentence that may become golden, and what the shipped and the float32 graphs make of it."""

    text: str
    source: Sequence[int]
    target: Target
    float32_target: Target


def certify(subject: Subject, test_sets: Sequence[TestSet], quotable: Sequence[str] = ()) -> Certificate:
    """Measure everything: parity over a grid and at the longest lengths; the rest on the first test set, or on
    built-in sentences; scores on all test sets. Golden sentences are `quotable` ones, if there are any, and of
    those the ones that are stable between the shipped and the float32 graphs, if there are any. Raises
    VerificationError where the graphs fall short."""
    test_set = test_sets[0] if test_sets else None
    shipped, float32 = subject.shipped, subject.float32
    manifest = shipped.manifest
    texts = open_texts(manifest, shipped.folder)
    parity = check_parity(subject.torch_model, float32)
    check_parity(
        subject.torch_model,
        float32,
        Grid((2,), (manifest.max_source_length,), manifest.max_target_length),
    )
    sentences = list(BUILT_IN_SENTENCES) if test_set is None else test_set.sources
    read = read_sources(shipped, texts, sentences)
    sources = [source.ids for source in read]
    invariance = check_invariance(shipped, sources)
    float32_targets = translate_all(float32, sources)
    agreement = measure_agreement(subject.torch_model, manifest, sources, float32_targets)
    if agreement.num_identical < SMALLEST_AGREEMENT * agreement.num_sentences:
        raise TokensDifferError(
            f"{agreement.num_identical} of {agreement.num_sentences} greedy targets are those of the model"
        )
    targets, quantization = float32_targets, None
    if shipped is not float32:
        targets = translate_all(shipped, sources)
        quantization = measure_quantization(
            shipped,
            sources,
            targets,
            float32_targets,
            None if test_set is None else _score(float32, test_set, float32_targets),
        )
        if quantization.num_flipped_tokens > LARGEST_QUANTIZATION_COST * quantization.num_tokens:
            raise TokensDifferError(
                f"the 8-bit form flips {quantization.num_flipped_tokens} of {quantization.num_tokens} tokens"
            )
    candidates = _candidates(sentences, sources, targets, float32_targets)
    if quotable:
        quoted = [source.ids for source in read_sources(shipped, texts, quotable)]
        candidates = _candidates(quotable, quoted, translate_all(shipped, quoted), translate_all(float32, quoted))
    tolerance = TOLERANCES[manifest.precision]
    stable = [one for one in candidates if is_stable(one.target, one.float32_target, tolerance)] or candidates
    return Certificate(
        format=1,
        created=datetime.now(UTC).replace(microsecond=0),
        weights_sha256=subject.weights_sha256,
        environment=environment(shipped),
        parity=parity,
        agreement=agreement,
        invariance=invariance,
        quantization=quantization,
        scores=_score_all(shipped, test_sets, targets),
        log_probability_tolerance=tolerance,
        golden=choose_golden(
            shipped, [one.text for one in stable], [one.source for one in stable], [one.target for one in stable]
        ),
    )


def _candidates(
    texts: Sequence[str],
    sources: Sequence[Sequence[int]],
    targets: Sequence[Target],
    float32_targets: Sequence[Target],
) -> list[_Candidate]:
    return [_Candidate(*each) for each in zip(texts, sources, targets, float32_targets, strict=True)]


def _score_all(model: OnnxModel, test_sets: Sequence[TestSet], first_targets: list[Target]) -> tuple[Scores, ...]:
    first = test_sets[:1]
    return (
        *(_score(model, test_set, first_targets) for test_set in first),
        *(score(test_set, translate(model, test_set.sources)) for test_set in test_sets[1:]),
    )


def _score(model: OnnxModel, test_set: TestSet, targets: list[Target]) -> Scores:
    texts = open_texts(model.manifest, model.folder)
    sources = read_sources(model, texts, test_set.sources)
    pairs = zip(targets, sources, strict=True)
    return score(test_set, [texts.write(target.token_ids, source) for target, source in pairs])
