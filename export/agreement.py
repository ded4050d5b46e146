"""Measures greedy translation token by token, one precision against another.

It also chooses the golden sentences that a certificate carries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from service.model.certificate import GoldenSentence, Quantization, Scores
from service.model.greedy import Target, translate_greedily
from service.model.onnx_model import OnnxModel
from service.model.rules import allowed, model_rules
from service.model.slots import Slots
from service.model.text import Source, open_texts

NUM_GOLDEN = 8
Sources = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Choice:
    """The token that one step would take, and how far its log-probability lies above the second's; 0 where a rule took
    another than the best."""

    token_id: int
    margin: float


def follow(
    model: OnnxModel,
    sources: Sources,
    targets: Sequence[Target],
    *,
    prefixes: Sources | None = None,
    max_rows: int = 64,
) -> list[list[Choice]]:
    """What the model would choose at each step when it continues from the given targets instead; what their prefixes
    set has no rival."""
    forced = prefixes or [()] * len(sources)
    choices: list[list[Choice]] = [[] for _ in sources]
    rules = [model_rules(model.manifest, source) for source in sources]
    for start in range(0, len(sources), max_rows):
        group = range(start, min(start + max_rows, len(sources)))
        slots = Slots(model, len(group))
        slots.join(slots.encode([sources[i] for i in group]))
        for position in range(max(len(targets[i].token_ids) for i in group)):
            following = []
            for i, row in zip(group, slots.step().rows(), strict=True):
                target = targets[i].token_ids
                if position < len(forced[i]):
                    choices[i].append(Choice(target[position], math.inf))
                elif position < len(target):
                    [(token_id, _)] = allowed(row, rules[i], target[:position], 1)
                    (best, first), (_, second) = row.best(2)
                    margin = first - second if token_id == best else 0.0
                    choices[i].append(Choice(token_id, margin))
                following.append(target[min(position, len(target) - 1)])
            slots.choose(following)
    return choices


def measure_quantization(
    model: OnnxModel,
    sources: Sources,
    targets: Sequence[Target],
    float32_targets: Sequence[Target],
    float32_scores: Scores | None,
    prefixes: Sources | None = None,
    *,
    max_rows: int = 64,
) -> Quantization:
    """What `model` changes: whole targets, and single tokens after the same float32 target so far."""
    followed = follow(model, sources, float32_targets, prefixes=prefixes, max_rows=max_rows)
    pairs = list(zip(followed, float32_targets, strict=True))
    flipped = sum(
        choice.token_id != token
        for choices, target in pairs
        for choice, token in zip(choices, target.token_ids, strict=True)
    )
    return Quantization(
        num_sentences=len(sources),
        num_flipped_sentences=sum(a.token_ids != b.token_ids for a, b in zip(targets, float32_targets, strict=True)),
        num_tokens=sum(len(target.token_ids) for target in float32_targets),
        num_flipped_tokens=flipped,
        float32_scores=float32_scores,
    )


def is_stable(one: Target, other: Target, tolerance: float) -> bool:
    """Whether both have the same tokens, with log-probabilities (in nats) that nowhere differ by more than `tolerance`:
    rounding turned no choice inside of the model either, such as the position that hard attention takes."""
    return one.token_ids == other.token_ids and all(
        abs(a - b) <= tolerance for a, b in zip(one.log_probabilities, other.log_probabilities, strict=True)
    )


def choose_golden(
    model: OnnxModel,
    texts: Sequence[str],
    sources: Sources,
    targets: Sequence[Target],
    *,
    prefixes: Sources | None = None,
    max_rows: int = 64,
) -> tuple[GoldenSentence, ...]:
    """Sentences of spread lengths among those whose every token wins clearly, so that another processor's
    rounding turns none of them."""
    begun = prefixes or [()] * len(sources)
    written = open_texts(model.manifest, model.folder, model.files)
    followed = follow(model, sources, targets, prefixes=begun, max_rows=max_rows)
    golden = [
        GoldenSentence(
            text=text,
            source_ids=tuple(source),
            target_prefix=tuple(prefix),
            target_ids=tuple(target.token_ids),
            target_text=written.write(target.token_ids, Source(tuple(source))),
            log_probabilities=tuple(target.log_probabilities),
            smallest_margin=min(choice.margin for choice in choices),
        )
        for text, source, prefix, target, choices in zip(texts, sources, begun, targets, followed, strict=True)
    ]
    end_id = model.manifest.vocabulary.end_id
    finished = [sentence for sentence in golden if sentence.target_ids[-1] == end_id] or golden
    finished.sort(key=lambda sentence: sentence.smallest_margin, reverse=True)
    clear = finished[: max(NUM_GOLDEN, len(finished) // 8)]
    clear.sort(key=lambda sentence: len(sentence.source_ids))
    last = max(1, min(NUM_GOLDEN, len(clear)) - 1)
    places = sorted({round(i * (len(clear) - 1) / last) for i in range(min(NUM_GOLDEN, len(clear)))})
    return tuple(clear[place] for place in places)


def translate_all(model: OnnxModel, sources: Sources) -> list[Target]:
    """Greedy targets; longest sources first, so that rows of like age share a step. In the order of `sources`."""
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]), reverse=True)
    sorted_targets = translate_greedily(model, [sources[i] for i in order])
    targets = dict(zip(order, sorted_targets, strict=True))
    return [targets[i] for i in range(len(sources))]
