"""Keeps what our model makes of an import's weights, for a process that comes when the model is gone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from export.imports.grids import grids_of
from export.imports.imported import unpacked
from export.imports.packed import Packed
from export.parity import check_states, torch_outputs
from export.recording import record
from service.model.manifest import Manifest


def record_outputs(packed: Packed, manifest: Manifest, files: Sequence[Path]) -> None:
    """A file for each of `grids_of`. Raises NamesDifferError or AxesDifferError where the manifest has other states."""
    imported = unpacked(packed)
    model = imported.architecture.load(imported.weights)
    check_states(model.state_specs, manifest)
    sizes = manifest.vocabulary.shared_size, manifest.num_candidates
    for path, grid in zip(files, grids_of(packed, manifest), strict=True):
        record(path, torch_outputs(model, grid, *sizes))
