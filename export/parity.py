"""Proves that published graphs compute what the torch model computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from export.agreement import Sources
from export.errors import AxesDifferError, NamesDifferError
from export.models.contract import StateSpec, TranslationModel
from export.trace import Outputs
from export.trace_torch import encode_torch, trace_torch
from export.training.decode import greedy
from export.verify import CANDIDATE_IDS, TOLERANCE, WHOLE_GRID, Grid, compare
from service.model.certificate import Agreement, Parity
from service.model.greedy import Target
from service.model.manifest import Manifest
from service.model.onnx_model import OnnxModel
from service.model.rules import model_rules

TORCH_MAX_LENGTH = 100


def check_parity(
    torch_model: TranslationModel, model: OnnxModel, grid: Grid = WHOLE_GRID, *, tolerance: float = TOLERANCE
) -> Parity:
    """Compare every output of both graphs with the model's. Raises NamesDifferError, AxesDifferError, ValuesDifferError
    or TokensDifferError."""
    manifest = model.manifest
    check_states(torch_model.state_specs, manifest)
    wanted = torch_outputs(torch_model, grid, manifest.vocabulary.shared_size, manifest.num_candidates)
    return compare(wanted, model, grid, tolerance=tolerance)


def check_states(specs: Sequence[StateSpec], manifest: Manifest) -> None:
    """Compare the manifest's states with the torch model's. Raises NamesDifferError or AxesDifferError."""
    wanted = {spec.name: spec for spec in specs}
    found = {state.name: state for state in manifest.states}
    if tuple(wanted) != tuple(found):
        raise NamesDifferError(f"the model has the states {', '.join(wanted)}, the manifest {', '.join(found)}")
    for name, spec in wanted.items():
        if (spec.kind, spec.axes) != (found[name].kind, found[name].axes):
            raise AxesDifferError(
                f"{name} is {spec.kind} with the axes {list(spec.axes)} in the model, "
                f"{found[name].kind} with {list(found[name].axes)} in the manifest"
            )


def torch_outputs(
    torch_model: TranslationModel, grid: Grid, vocabulary_size: int, num_candidates: int
) -> Iterator[Outputs]:
    """What the model makes of each of the grid's batches: the encoder's states, then every step's outputs, with one
    candidate more than the graphs have."""
    for rows in grid.rows(vocabulary_size):
        yield encode_torch(torch_model, rows)
        for ids, made in trace_torch(torch_model, rows, num_candidates + 1):
            yield {CANDIDATE_IDS: ids.astype(np.float32), **made}


def measure_agreement(
    torch_model: TranslationModel, manifest: Manifest, sources: Sources, targets: Sequence[Target]
) -> Agreement:
    """How many greedy targets of the graphs are the torch model's under the same rules, token by token."""
    end_id = manifest.vocabulary.end_id
    expected = greedy(
        torch_model,
        sources,
        max_length=TORCH_MAX_LENGTH,
        rules=[model_rules(manifest, source) for source in sources],
    )
    identical = 0
    for source, wanted, target in zip(sources, expected, targets, strict=True):
        found = target.token_ids[:-1] if target.token_ids[-1] == end_id else target.token_ids
        length = min(TORCH_MAX_LENGTH, 2 * len(source) + 10)
        identical += wanted[:length] == found[:length]
    return Agreement(num_sentences=len(sources), num_identical=identical)
