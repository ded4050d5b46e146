"""Makes the certificate of a foreign version: what is served, held against the plain loop over the original pair."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

from export.agreement import choose_golden, translate_all
from export.environment import environment
from export.errors import TokensDifferError, ValuesDifferError
from export.foreign.bundle import Parts
from export.foreign.measure import TOLERANCE, Samples, crowd, encoder_difference, largest, num_identical, num_steps
from export.foreign.originals import Original
from export.standards import SMALLEST_AGREEMENT, TOLERANCES
from service.model.certificate import Agreement, Certificate, Difference, Invariance, Parity
from service.model.onnx_model import OnnxModel
from service.model.text import open_texts


def certify(model: OnnxModel, parts: Parts, samples: Samples) -> Certificate:
    """Hold a crowd of rows of different sources and ages against the plain loop, score by score, and greedy targets of
    the examples and of random sources, token by token. Raises VerificationError where they fall short."""
    manifest, reference = model.manifest, parts.resolved.reference
    sources, targets = samples.ragged, samples.targets
    wanted = [reference.follow(source, target) for source, target in zip(sources, targets, strict=True)]
    delays = [row % 3 for row in range(len(sources))]
    mixed = crowd(model, sources, targets, delays)
    differences = {
        "encoder states": encoder_difference(model, reference, sources),
        "log_probabilities": largest(wanted, mixed),
    }
    for name, difference in differences.items():
        if not difference <= TOLERANCE:
            raise ValuesDifferError(f"{name} differ by {difference:g} from the original's, tolerance {TOLERANCE:g}")
    texts = list(parts.mapping.examples)
    vocabulary = open_texts(manifest, model.folder)
    read = [list(vocabulary.read(text).ids) for text in texts]
    every = [*read, *samples.ragged, *samples.equal]
    expected = [reference.translate(source, manifest.max_target_length) for source in every]
    served = translate_all(model, every)
    agreement = Agreement(num_sentences=len(every), num_identical=num_identical(expected, served))
    if agreement.num_identical < SMALLEST_AGREEMENT * agreement.num_sentences:
        raise TokensDifferError(
            f"{agreement.num_identical} of {agreement.num_sentences} greedy targets are the original's; "
            "`share = false` in the mapping gives every row a run of its own"
        )
    return Certificate(
        format=1,
        created=datetime.now(UTC).replace(microsecond=0),
        weights_sha256=_sha256(parts.encoder, parts.decoder),
        environment=environment(model),
        parity=Parity(
            batch_sizes=(len(sources),),
            source_lengths=(max(map(len, sources)),),
            num_steps=num_steps(parts),
            tolerance=TOLERANCE,
            outputs={name: Difference(absolute=one, relative=one) for name, one in differences.items()},
        ),
        agreement=agreement,
        invariance=_invariance(model, sources, targets, delays),
        quantization=None,
        scores=(),
        sharing=None if manifest.foreign is None else manifest.foreign.sharing,
        log_probability_tolerance=TOLERANCES[manifest.precision],
        golden=choose_golden(model, texts, read, served[: len(texts)]),
    )


def _invariance(
    model: OnnxModel, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], delays: Sequence[int]
) -> Invariance:
    """What a row's surroundings change of its scores, as it is served."""

    def pair(row: int, other: int) -> float:
        return largest(
            alone[row : row + 1], crowd(model, [sources[row], sources[other]], [targets[row]] * 2, [0, 0])[:1]
        )

    alone = [crowd(model, [source], [target], [0])[0] for source, target in zip(sources, targets, strict=True)]
    mixed = crowd(model, sources, targets, delays)
    back = slice(None, None, -1)
    longest = max(range(len(sources)), key=lambda row: len(sources[row]))
    return Invariance(
        padding=max(pair(row, longest) for row in range(len(sources))),
        batch=largest(alone, mixed),
        placement=largest(mixed[back], crowd(model, sources[back], targets[back], delays[back])),
        num_rows=len(sources),
        num_sentences=len(sources),
    )


def _sha256(*originals: Original) -> str:
    """Of the graphs, and then of what lies beside them."""
    sha256 = hashlib.sha256()
    for original in originals:
        sha256.update(original.content)
    for original in originals:
        for _, weight in original.beside:
            sha256.update(weight)
    return sha256.hexdigest()
