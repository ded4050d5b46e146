"""Makes every measurement of a certificate: parity, agreement, invariance, cost of quantization, scores, golden
sentences. It writes no file.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from export.agreement import choose_golden, is_stable, measure_agreement, measure_quantization, translate_all
from export.errors import TokensDifferError
from export.evaluate import TestSet, read_sources, score, translate
from export.invariance import check_invariance
from export.models.contract import TranslationModel
from export.verify import check_parity
from service.model.certificate import Certificate, Environment, Scores
from service.model.greedy import Target
from service.model.onnx_model import OnnxModel
from service.model.text import open_texts

TOLERANCES = {"fp32": 1e-3, "int8": 5e-2}
"""Of a log-probability on another processor; a rounding that falls the other way moves an int8 one further."""

SMALLEST_AGREEMENT = 0.99
"""Share of greedy targets that must be the torch model's; the rest may be ties."""

LARGEST_QUANTIZATION_COST = 0.05
"""Share of tokens that the 8-bit form may choose otherwise, after the same target so far."""

BUILT_IN_SENTENCES = (
    "A man rides a bicycle.",
    "Two dogs play in the snow.",
    "A child is eating an apple at the table.",
    "Three women stand in front of an old house and talk.",
    "A boy in a red shirt jumps into the water.",
    "People are waiting for the train at a station.",
    "A woman with a yellow umbrella crosses the wet street.",
    "The brown dog runs across a field with a stick in its mouth.",
    "An old man sits on a bench in the park and reads a newspaper.",
    "Several children are playing football on the beach.",
    "A musician plays the guitar on a small stage at night.",
    "Two workers in helmets repair the roof of a tall building.",
)


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
        batch_sizes=(2,),
        source_lengths=(manifest.max_source_length,),
        num_steps=manifest.max_target_length,
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


def environment(model: OnnxModel) -> Environment:
    return Environment(
        stepstream=version("stepstream"),
        python=platform.python_version(),
        torch=version("torch"),
        onnx=version("onnx"),
        onnxruntime=_onnxruntime_version(),
        execution_provider=model.execution_provider,
        processor=processor_name(),
    )


def _onnxruntime_version() -> str:
    """The package has another name with CUDA."""
    try:
        return version("onnxruntime")
    except PackageNotFoundError:
        return version("onnxruntime-gpu")


def processor_name() -> str:
    """The processor's name, where Linux tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
