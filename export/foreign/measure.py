"""Runs a foreign version as it is served, many rows at once, and finds out what its rows may share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from export.foreign.bundle import Parts
from export.foreign.reference import Reference
from service.model.foreign.layout import along, state_axes, state_from_tensor
from service.model.foreign.ranking import NEVER
from service.model.foreign.roles import ForeignPair, Sharing
from service.model.greedy import Target
from service.model.onnx_model import Floats, OnnxModel
from service.model.session import Array
from service.model.slots import Slots

TOLERANCE = 1e-4
"""The largest difference, in nats or relative to a state's largest value, that rows in one run may make."""
NUM_ROWS = 8
NUM_STEPS = 6
LONGEST_SAMPLE = 12
"""Tokens of text."""
Sources = Sequence[Sequence[int]]
Load = Callable[[ForeignPair], OnnxModel]


@dataclass
class Samples:
    """Sources and targets of random text tokens: of the length `equal`, and of lengths up to it."""

    equal: list[list[int]]
    ragged: list[list[int]]
    targets: list[list[int]]


def make_samples(parts: Parts) -> Samples:
    """Random ones, of tokens that stand for text, with what stands around every text."""
    pair, rng = parts.resolved.pair, np.random.default_rng(0)
    longest = parts.mapping.max_source_length - len(pair.source_prefix) - len(pair.source_suffix)
    length = max(1, min(longest, LONGEST_SAMPLE))
    lengths = [length, *rng.integers(1, length + 1, NUM_ROWS - 2).tolist(), 1]

    def source(size: int) -> list[int]:
        return [*pair.source_prefix, *rng.choice(parts.source.text_ids, size).tolist(), *pair.source_suffix]

    return Samples(
        [source(length) for _ in range(NUM_ROWS)],
        [source(size) for size in lengths],
        [rng.choice(parts.target.text_ids, num_steps(parts)).tolist() for _ in range(NUM_ROWS)],
    )


def num_steps(parts: Parts) -> int:
    """Of each sample."""
    return min(NUM_STEPS, parts.mapping.max_target_length)


def find_sharing(pair: ForeignPair, load: Load, reference: Reference, samples: Samples) -> ForeignPair:
    """The pair with as much sharing as the tolerance allows: rows of one run, then sources of different lengths in the
    encoder; then the same, and different ages, in the decoder."""
    alone = Sharing(rows=False)
    for rows, lengths in ((True, True), (True, False), (False, False)):
        pair = with_sharing(pair, encoder=Sharing(rows=rows, lengths=lengths), decoder=alone)
        model = load(pair)
        tried = [samples.equal, samples.ragged] if lengths else [samples.equal]
        if all(_is_small(partial(encoder_difference, model, reference, sources)) for sources in tried):
            break
    wanted = [reference.follow(source, target) for source, target in zip(samples.equal, samples.targets, strict=True)]
    other = [reference.follow(source, target) for source, target in zip(samples.ragged, samples.targets, strict=True)]

    def agrees(sharing: Sharing, sources: Sources, wanted: list[list[Array]], delays: Sequence[int]) -> bool:
        model = load(with_sharing(pair, encoder=pair.encoder.sharing, decoder=sharing))
        return _is_small(lambda: largest(wanted, crowd(model, sources, samples.targets, delays)))

    together, staggered = [0] * NUM_ROWS, [row % 3 for row in range(NUM_ROWS)]
    found = alone
    if agrees(Sharing(lengths=False, ages=False), samples.equal, wanted, together):
        found = Sharing(
            lengths=agrees(Sharing(ages=False), samples.ragged, other, together),
            ages=agrees(Sharing(lengths=False), samples.equal, wanted, staggered),
        )
    return with_sharing(pair, encoder=pair.encoder.sharing, decoder=found)


def crowd(
    model: OnnxModel, sources: Sources, targets: Sequence[Sequence[int]], delays: Sequence[int]
) -> list[list[Floats]]:
    """The scores (vocabulary,) of every step of each target, which is given: all sources in one crowd of rows, where
    each joins so many steps late. Raises what a step of all rows fails with."""
    slots, joined = Slots(model, len(sources)), list[int]()
    scores: list[list[Floats]] = [[] for _ in sources]
    for step in range(max(delays) + max(map(len, targets))):
        if joining := [i for i, delay in enumerate(delays) if delay == step]:
            slots.join(slots.encode([sources[i] for i in joining]))
            joined += joining
        if not joined:
            continue
        candidates = slots.step()
        if candidates.error is not None:
            raise candidates.error
        logits = candidates.logits
        following = []
        for row, i in enumerate(joined):
            scores[i].append(np.array(logits[row]))
            following.append(targets[i][min(len(scores[i]), len(targets[i])) - 1])
        slots.choose(following)
        for row in reversed([row for row, i in enumerate(joined) if len(scores[i]) == len(targets[i])]):
            slots.leave(row)
            joined[row] = joined[-1]
            joined.pop()
    return scores


def encoder_difference(model: OnnxModel, reference: Reference, sources: Sources) -> float:
    """The largest difference in a state of sources that are encoded together, relative to the state's largest value."""
    encoded, pair = Slots(model, len(sources)).encode(sources).states, model.manifest.foreign
    assert pair is not None
    worst = 0.0
    for row, source in enumerate(sources):
        outputs = reference.encode(source)
        for name, tensor in pair.encoder.states.items():
            wanted = state_from_tensor(outputs[tensor.name], tensor)[0].astype(np.float32)
            found = encoded[name]
            assert isinstance(found, np.ndarray)
            window = along(state_axes(tensor), source_length=slice(len(source)))
            scale = max(1.0, float(np.abs(wanted).max(initial=0.0)))
            worst = max(worst, float(np.abs(found[window][row] - wanted).max(initial=0.0)) / scale)
    return worst


def largest(wanted: Sequence[Sequence[Array]], found: Sequence[Sequence[Array]]) -> float:
    """The largest difference of scores, in nats, among tokens that may be made."""
    worst = 0.0
    for one, other in zip(wanted, found, strict=True):
        for left, right in zip(one, other, strict=True):
            difference = np.abs(np.maximum(left, NEVER) - np.maximum(right, NEVER))
            worst = max(worst, float(difference.max()))
    return worst


def num_identical(wanted: Sequence[Target], found: Sequence[Target]) -> int:
    """Targets of the same tokens."""
    return sum(one.token_ids == other.token_ids for one, other in zip(wanted, found, strict=True))


def _is_small(measure: Callable[[], float]) -> bool:
    """Whether a difference is within the tolerance; a graph that cannot run so makes one that is not."""
    try:
        return measure() <= TOLERANCE
    except Exception:
        return False


def with_sharing(pair: ForeignPair, *, encoder: Sharing, decoder: Sharing) -> ForeignPair:
    """The pair with what the rows of each graph may share."""
    return pair.model_copy(
        update={
            "encoder": pair.encoder.model_copy(update={"sharing": encoder}),
            "decoder": pair.decoder.model_copy(update={"sharing": decoder}),
        }
    )
