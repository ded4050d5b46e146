"""Proves that published graphs compute what the torch model computes.

It runs the graphs through the loader that serves, `service.model`, and raises a named error where they fail.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from export.errors import AxesDifferError, NamesDifferError, TokensDifferError, ValuesDifferError
from export.models.contract import TranslationModel
from export.trace import (
    corner,
    encode_onnx,
    encode_torch,
    make_rows,
    random_sources,
    trace_onnx,
    trace_torch,
    within_lengths,
)
from service.model.certificate import Difference, Parity
from service.model.onnx_model import Floats, Ids, OnnxModel

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
                _note(differences, name, wanted[name], found[name][corner(wanted[name])], where, tolerance)
            ours = trace_torch(torch_model, bare, model.manifest.num_candidates + 1)
            for step, ((wanted_ids, wanted), (ids, found)) in enumerate(
                zip(ours, trace_onnx(model, padded), strict=True)
            ):
                here = f"{where}, step {step}"
                log_probabilities = wanted["candidate_log_probabilities"]
                _check_candidates(wanted_ids, log_probabilities, ids, here)
                wanted["candidate_log_probabilities"] = log_probabilities[:, :-1]
                if "attention" in wanted:
                    beyond = padded.source_ids.shape[1] - bare.source_ids.shape[1]
                    wanted["attention"] = np.pad(wanted["attention"], ((0, 0), (0, beyond)))
                for name in wanted:
                    _note(differences, name, wanted[name], found[name], here, tolerance)
    return Parity(
        batch_sizes=tuple(batch_sizes),
        source_lengths=tuple(source_lengths),
        num_steps=num_steps,
        tolerance=tolerance,
        outputs=differences,
    )


def _note(
    differences: dict[str, Difference], name: str, wanted: Floats, found: Floats, where: str, tolerance: float
) -> None:
    if wanted.shape != found.shape:
        raise AxesDifferError(f"{where}: {name} is {found.shape}, the model's {wanted.shape}")
    finite = np.isfinite(wanted)
    if not np.array_equal(wanted[~finite], found[~finite], equal_nan=False):
        raise ValuesDifferError(f"{where}: {name} is not finite where the model's is, or the other way round")
    wanted, found = np.where(finite, wanted, 0.0), np.where(finite, found, 0.0)
    absolute = float(np.abs(wanted - found).max())
    largest = float(np.abs(wanted).max())
    allowed = tolerance * max(1.0, largest)
    if not absolute <= allowed:
        raise ValuesDifferError(f"{where}: {name} differs by {absolute:g} from the model, tolerance {allowed:g}")
    relative = absolute / max(largest, 1e-9)
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
