"""certificate.json: what was measured before a version was published, and sentences to replay where it runs.

It knows the file's form and how to replay it; `export.verify` makes the measurements.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    ValidationError,
    model_validator,
)

from service.model.errors import CertificateError, RowError
from service.model.greedy import Target, translate_greedily
from service.model.onnx_model import OnnxModel
from service.model.text import Source, Texts

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Score = Annotated[float, Field(ge=0.0, le=100.0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Environment(_Part):
    """Where the measurements were made: versions, processor, onnxruntime execution provider."""

    stepstream: str
    python: str
    torch: str
    onnx: str
    onnxruntime: str
    execution_provider: str
    processor: str


class Difference(_Part):
    """The largest difference of one output. relative: over the largest magnitude in the same tensor."""

    absolute: NonNegativeFloat
    relative: NonNegativeFloat


class Parity(_Part):
    """float32 graphs against the torch model, by output, for every batch size x source length x step."""

    batch_sizes: tuple[PositiveInt, ...]
    source_lengths: tuple[PositiveInt, ...] = Field(description="of the longest row; the others are shorter")
    num_steps: PositiveInt
    tolerance: PositiveFloat = Field(
        description="largest difference to publish with: absolute, and relative for tensors with values above 1"
    )
    outputs: dict[str, Difference]


class Agreement(_Part):
    """Targets of the float32 graphs against those of the torch model, or of the library that a model comes from:
    greedy ones, or those of a beam search."""

    num_sentences: PositiveInt
    num_identical: NonNegativeInt


class Original(_Part):
    """The library that a model comes from, and how many of its targets the published graphs repeat, token for token."""

    library: str
    architecture: str
    greedy: Agreement
    beam: Agreement
    beam_size: PositiveInt


class Invariance(_Part):
    """The largest difference in any output of the published graphs when only its surroundings change."""

    padding: NonNegativeFloat = Field(description="a wider source axis, filled with garbage")
    batch: NonNegativeFloat = Field(description="alone or among num_rows others")
    placement: NonNegativeFloat = Field(description="another row, another capacity, used caches")
    num_rows: PositiveInt
    num_sentences: PositiveInt


class PlaceholdersKept(_Part):
    """Sentences whose source holds placeholders (%s, {0}), and those whose translation holds exactly the same."""

    num_with_placeholders: PositiveInt
    num_kept: NonNegativeInt


class Scores(_Part):
    """Corpus scores of greedy translation on one split of a parallel corpus."""

    split: str
    num_sentences: PositiveInt
    bleu: Score = Field(description="cased sacreBLEU with its tokenizer for the target language")
    bleu_signature: str
    bleu_lowercased_tokenized: Score | None = Field(
        None, description="as the literature scores it; none for a language without Moses' rules"
    )
    chrf: Score
    chrf_signature: str
    placeholders_kept: PlaceholdersKept | None = Field(None, description="none where no source has placeholders")


class Quantization(_Part):
    """What the published precision costs against float32, over the same sentences."""

    num_sentences: PositiveInt
    num_flipped_sentences: NonNegativeInt = Field(description="another greedy target")
    num_tokens: PositiveInt
    num_flipped_tokens: NonNegativeInt = Field(description="another best token after the same float32 target so far")
    float32_scores: Scores | None = None


class GoldenSentence(_Part):
    """A greedy translation that every correct execution repeats.

    Ids have all that stands around a text, such as the end of the sentence; there is one log-probability for each
    target id. smallest_margin: between the best and the second log-probability, over all steps that choose."""

    text: str
    source_ids: tuple[NonNegativeInt, ...] = Field(min_length=1)
    target_prefix: tuple[NonNegativeInt, ...] = Field((), description="target ids that are not chosen, but set")
    target_ids: tuple[NonNegativeInt, ...] = Field(min_length=1)
    target_text: str | None = Field(
        None,
        description="of the target ids, placeholders not put back; none where it was not recorded",
    )
    log_probabilities: tuple[float, ...]
    smallest_margin: NonNegativeFloat

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.log_probabilities) != len(self.target_ids):
            raise ValueError("there must be one log-probability for each target id")
        return self


class Certificate(_Part):
    """What one version promises, and how it was found out."""

    format: Literal[1]
    created: AwareDatetime
    weights_sha256: Sha256 = Field(description="of the checkpoint's weights")
    environment: Environment
    parity: Parity
    agreement: Agreement
    original: Original | None = Field(None, description="none of a model that was trained here")
    invariance: Invariance
    quantization: Quantization | None = Field(description="none where the version is float32")
    scores: tuple[Scores, ...]
    sharing: str | None = Field(None, description="what rows of one run may be; none: any, as in all graphs of ours")
    log_probability_tolerance: float = Field(gt=0.0, le=1.0, description="absolute, when golden sentences are replayed")
    golden: tuple[GoldenSentence, ...] = Field(min_length=1)


def read_certificate(path: Path) -> Certificate:
    """Read certificate.json; raises CertificateError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}") from error
    return parse_certificate(content, path)


def parse_certificate(content: bytes, path: Path) -> Certificate:
    """The certificate in the content of PATH; raises CertificateError."""
    try:
        return Certificate.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise CertificateError(f"{path} is not valid at {where}: {first['msg']}") from error


def replay(model: OnnxModel, certificate: Certificate) -> None:
    """Translate the golden sentences again, all together and the first one alone.

    Raises CertificateError at the first other token, log-probability beyond the certificate's tolerance, or logit,
    log-probability or weight of attention that is no number.
    """
    golden = certificate.golden
    sources = [sentence.source_ids for sentence in golden]
    prefixes = [sentence.target_prefix for sentence in golden]
    try:
        together = translate_greedily(model, sources, prefixes=prefixes, max_rows=len(golden))
        alone = translate_greedily(model, sources[:1], prefixes=prefixes[:1], max_rows=1)
    except RowError as error:
        raise CertificateError(f"the golden sentences: {error}") from error
    for number, (sentence, target) in enumerate(zip(golden, together, strict=True), start=1):
        _compare(f"golden sentence {number}", sentence, target, certificate.log_probability_tolerance)
    _compare("golden sentence 1 alone", golden[0], alone[0], certificate.log_probability_tolerance)


def read_again(texts: Texts, certificate: Certificate) -> None:
    """Read the golden sentences again, and write their targets; raises CertificateError at the first that has other
    tokens or another text, as with a vocabulary that is not the model's."""
    for number, sentence in enumerate(certificate.golden, start=1):
        if not texts.are_tokens_of(sentence.source_ids, sentence.text):
            raise CertificateError(f"golden sentence {number}: the vocabulary gives it other tokens")
        if sentence.target_text not in (None, texts.write(sentence.target_ids, Source(sentence.source_ids))):
            raise CertificateError(f"golden sentence {number}: the vocabulary gives its target another text")


def _compare(where: str, expected: GoldenSentence, found: Target, tolerance: float) -> None:
    for position, (wanted, token) in enumerate(zip(expected.target_ids, found.token_ids, strict=False)):
        if token != wanted:
            raise CertificateError(f"{where}, position {position}: token {wanted} expected, {token} found")
        promised, measured = expected.log_probabilities[position], found.log_probabilities[position]
        if not math.isclose(measured, promised, rel_tol=0.0, abs_tol=tolerance):
            raise CertificateError(
                f"{where}, position {position}: log-probability {promised:.6f} expected, {measured:.6f} found, "
                f"tolerance {tolerance:g}"
            )
    if len(found.token_ids) != len(expected.target_ids):
        raise CertificateError(f"{where}: {len(expected.target_ids)} tokens expected, {len(found.token_ids)} found")
