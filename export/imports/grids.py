"""Over which batches the graphs of an imported version are held against our model."""

from __future__ import annotations

from collections.abc import Sequence

from export.imports.compared import is_large
from export.imports.packed import Packed
from export.verify import BATCH_SIZES, NUM_STEPS, SOURCE_LENGTHS, Grid
from service.model.manifest import Manifest


def grids_of(packed: Packed, manifest: Manifest) -> tuple[Grid, Grid]:
    """Many small batches, and a small one of the greatest lengths."""
    steps, most = min(NUM_STEPS, manifest.max_target_length), manifest.max_source_length
    small = (
        Grid((1, 3), (5, 17), steps) if is_large(packed) else Grid(BATCH_SIZES, _at_most(SOURCE_LENGTHS, most), steps)
    )
    return small, Grid((2,), (most,), manifest.max_target_length)


def _at_most(lengths: Sequence[int], most: int) -> tuple[int, ...]:
    return tuple(min(length, most) for length in lengths)
