"""Proves that published graphs compute what the torch model computes, and that a row depends on nothing but itself.

It runs the graphs through the loader that serves, `service.model`, and raises a named error where they fail.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from export.errors import AxesDifferError, InvarianceError, NamesDifferError, TokensDifferError, ValuesDifferError
from export.models.contract import TranslationModel
from export.trace import Outputs, Rows, encode_onnx, encode_torch, make_rows, random_sources, trace_onnx, trace_torch
from service.model.certificate import Difference, Invariance, Parity
from service.model.onnx_model import Floats, Ids, OnnxModel
from service.model.slots import Slots

BATCH_SIZES = (1, 3, 8)
SOURCE_LENGTHS = (1, 5, 17, 60)
NUM_STEPS = 30
TOLERANCE = 1e-4
TIE = 1e-3
"""Candidates whose log-probabilities lie closer than this may come in either order."""


def check_states(torch_model: TranslationModel, model: OnnxModel) -> None:
    """Compare the manifest's states with the model's. Raises NamesDifferError or AxesDifferError."""
    wanted = {spec.name: spec for spec in torch_model.state_specs}
    found = {state.name: state for state in model.manifest.states}
    if tuple(wanted) != tuple(found):
        raise NamesDifferError(f"the model has the states {', '.join(wanted)}, the manifest {', '.join(found)}")
    for name, spec in wanted.items():
        if (spec.kind, spec.axes) != (found[name].kind, found[name].axes):
            raise AxesDifferError(
                f"{name} is {spec.kind} with the axes {list(spec.axes)} in the model, "
                f"{found[name].kind} with {list(found[name].axes)} in the manifest"
            )


def check_parity(
    torch_model: TranslationModel,
    model: OnnxModel,
    *,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    source_lengths: Sequence[int] = SOURCE_LENGTHS,
    num_steps: int = NUM_STEPS,
    tolerance: float = TOLERANCE,
) -> Parity:
    """Compare every output of both graphs with the model's, over ragged batches and rows of different age.

    The graphs get a padded source axis with garbage beyond each length, the model the bare source.
    Raises AxesDifferError, ValuesDifferError or TokensDifferError.
    """
    check_states(torch_model, model)
    vocabulary_size = model.manifest.vocabulary.source_size
    garbage = np.random.default_rng(0)
    differences: dict[str, Difference] = {}
    for batch in batch_sizes:
        for longest in source_lengths:
            sources = random_sources(batch, longest, vocabulary_size, seed=longest)
            bare = make_rows(sources, longest, num_steps, vocabulary_size, seed=batch)
            padded = bare.of_width(model.manifest.padded(longest), garbage, vocabulary_size)
            where = f"batch {batch}, source length {longest}"
            wanted = within_lengths(model, bare, encode_torch(torch_model, bare))
            found = within_lengths(model, padded, encode_onnx(model, padded))
            for name in wanted:
                _note(differences, name, wanted[name], found[name][_corner(wanted[name])], where, tolerance)
            ours = trace_torch(torch_model, bare, model.manifest.num_candidates + 1)
            for step, ((wanted_ids, wanted), (ids, found)) in enumerate(
                zip(ours, trace_onnx(model, padded), strict=True)
            ):
                here = f"{where}, step {step}"
                log_probabilities = wanted["candidate_log_probabilities"]
                _check_candidates(wanted_ids, log_probabilities, ids, here)
                wanted["candidate_log_probabilities"] = log_probabilities[:, :-1]
                wanted["attention"] = np.pad(
                    wanted["attention"], ((0, 0), (0, padded.source_ids.shape[1] - bare.source_ids.shape[1]))
                )
                for name in wanted:
                    _note(differences, name, wanted[name], found[name], here, tolerance)
    return Parity(
        batch_sizes=tuple(batch_sizes),
        source_lengths=tuple(source_lengths),
        num_steps=num_steps,
        tolerance=tolerance,
        outputs=differences,
    )


def check_invariance(
    model: OnnxModel, sources: list[list[int]], *, num_rows: int = 64, num_steps: int = 12
) -> Invariance:
    """Prove that padding, neighbours and place change no bit of a row's results; raises InvarianceError.

    sources: some sentences, each ending in the end of the sentence; they are repeated to fill `num_rows`.
    """
    manifest = model.manifest
    vocabulary_size = manifest.vocabulary.source_size
    crowd = [sources[i % len(sources)] for i in range(num_rows)]
    width = manifest.padded(max(map(len, crowd)))
    rows = make_rows(crowd, width, num_steps, vocabulary_size, seed=0)
    rng = np.random.default_rng(1)
    expected = _run(model, rows)

    padding = 0.0
    for extra in (0, manifest.length_multiple, 3 * manifest.length_multiple):
        wider = rows.of_width(min(width + extra, manifest.padded(manifest.max_source_length)), rng, vocabulary_size)
        padding = max(padding, _largest_change("padding", expected, _run(model, wider)))

    alone = 0.0
    for row in range(min(len(sources), 8)):
        one = rows.take(np.array([row])).of_width(manifest.padded(len(crowd[row])))
        mine = [{name: value[row : row + 1] for name, value in step.items()} for step in expected]
        alone = max(alone, _largest_change("batch", _run(model, one), mine))
    alone = max(alone, _scheduling_change(model, crowd, rng))

    order = rng.permutation(num_rows)
    moved = _run(model, rows.take(order), capacity=manifest.padded(num_steps), stale=rng)
    ordered = [{name: value[order] for name, value in step.items()} for step in expected]
    placement = _largest_change("placement", ordered, moved)
    return Invariance(
        padding=padding, batch=alone, placement=placement, num_rows=num_rows, num_sentences=len(sources[:num_rows])
    )


def within_lengths(model: OnnxModel, rows: Rows, states: Outputs) -> Outputs:
    """States of the encoder with zeros wherever the source axis lies beyond a row's length."""
    kept = dict(states)
    for state in model.manifest.states_of("constant"):
        axis = state.axes.index("source_length")
        shape = [1] * len(state.axes)
        shape[0], shape[axis] = rows.inside().shape
        kept[state.name] = np.where(rows.inside().reshape(shape), states[state.name], np.float32(0.0))
    return kept


def _run(
    model: OnnxModel, rows: Rows, *, capacity: int | None = None, stale: np.random.Generator | None = None
) -> list[Outputs]:
    """The encoder's outputs, then each step's; candidate ids as numbers like the rest."""
    steps = trace_onnx(model, rows, capacity=capacity, stale=stale)
    encoded = within_lengths(model, rows, encode_onnx(model, rows))
    return [encoded, *({"candidate_ids": ids.astype(np.float32), **made} for ids, made in steps)]


def _largest_change(cause: str, expected: list[Outputs], found: list[Outputs]) -> float:
    for step, (wanted, made) in enumerate(zip(expected, found, strict=True)):
        for name, value in wanted.items():
            other = made[name][_corner(value)]
            if not np.array_equal(value, other):
                change = float(np.abs(value - other).max())
                where = "the encoder" if step == 0 else f"step {step - 1}"
                raise InvarianceError(f"{cause} changes {name} in {where} by {change:g}")
    return 0.0


def _scheduling_change(model: OnnxModel, crowd: list[list[int]], rng: np.random.Generator) -> float:
    """The rows that serve, where sentences join and leave while others are under way, against one at a time."""
    lifetimes = rng.integers(1, 16, len(crowd)).tolist()
    together = _lives(model, crowd, lifetimes, max(2, len(crowd) // 2))
    few = range(0, len(crowd), 5)
    alone = _lives(model, [crowd[i] for i in few], [lifetimes[i] for i in few], 1)
    for i, wanted in zip(few, alone, strict=True):
        if not np.array_equal(wanted, together[i]):
            raise InvarianceError(f"sentences that join and leave change the log-probabilities of sentence {i + 1}")
    return 0.0


def _lives(model: OnnxModel, sources: list[list[int]], lifetimes: list[int], max_rows: int) -> list[list[list[float]]]:
    """The candidates' log-probabilities of each source's first steps, at most three sources joining at a time."""
    slots, waiting, rows = Slots(model, max_rows), list(range(len(sources)))[::-1], list[int]()
    lives: list[list[list[float]]] = [[] for _ in sources]
    while waiting or rows:
        joining = [waiting.pop() for _ in range(min(len(waiting), max_rows - len(rows), 3))]
        if joining:
            slots.join([sources[i] for i in joining])
            rows += joining
        candidates = slots.step()
        slots.choose(candidates.ids[:, 0].tolist())
        for row, log_probabilities in reversed(list(enumerate(candidates.log_probabilities.tolist()))):
            life = lives[rows[row]]
            life.append(log_probabilities)
            if len(life) == lifetimes[rows[row]]:
                slots.leave(row)
                rows[row] = rows[-1]
                rows.pop()
    return lives


def _corner(value: Floats) -> tuple[slice, ...]:
    """Selects as many entries along every axis as `value` has."""
    return tuple(slice(size) for size in value.shape)


def _note(
    differences: dict[str, Difference], name: str, wanted: Floats, found: Floats, where: str, tolerance: float
) -> None:
    if wanted.shape != found.shape:
        raise AxesDifferError(f"{where}: {name} is {found.shape}, the model's {wanted.shape}")
    absolute = float(np.abs(wanted - found).max())
    if not absolute <= tolerance:
        raise ValuesDifferError(f"{where}: {name} differs by {absolute:g} from the model, tolerance {tolerance:g}")
    relative = absolute / max(float(np.abs(wanted).max()), 1e-9)
    before = differences.get(name, Difference(absolute=0.0, relative=0.0))
    differences[name] = Difference(absolute=max(before.absolute, absolute), relative=max(before.relative, relative))


def _check_candidates(wanted: Ids, log_probabilities: Floats, found: Ids, where: str) -> None:
    """wanted and log_probabilities (batch, num_candidates + 1), found (batch, num_candidates)."""
    gaps = log_probabilities[:, :-1] - log_probabilities[:, 1:]
    above = np.pad(gaps[:, :-1], ((0, 0), (1, 0)), constant_values=np.inf)
    clear = np.minimum(gaps, above) > TIE
    wrong = clear & (wanted[:, :-1] != found)
    if wrong.any():
        row, rank = np.argwhere(wrong)[0].tolist()
        raise TokensDifferError(
            f"{where}, row {row}: candidate {rank} is token {found[row, rank]}, the model's {wanted[row, rank]}"
        )
