"""Holds the outputs of published graphs against those that are wanted.

It runs the graphs through the loader that serves, `service.model`, raises a named error where they fail, and knows no
torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from export.errors import AxesDifferError, TokensDifferError, ValuesDifferError
from export.trace import (
    Outputs,
    Rows,
    corner,
    encode_onnx,
    make_rows,
    random_sources,
    trace_onnx,
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
CANDIDATE_IDS = "candidate_ids"
"""Among outputs as numbers like the rest; exact in float32 for vocabularies below 2^24."""


@dataclass(frozen=True)
class Grid:
    """Every batch size with every source length, that of the longest row, for a number of steps."""

    batch_sizes: tuple[int, ...] = BATCH_SIZES
    source_lengths: tuple[int, ...] = SOURCE_LENGTHS
    num_steps: int = NUM_STEPS

    def rows(self, vocabulary_size: int) -> Iterator[Rows]:
        """Ragged batches of rows of different age."""
        for batch in self.batch_sizes:
            for longest in self.source_lengths:
                sources = random_sources(batch, longest, vocabulary_size, seed=longest)
                yield make_rows(sources, longest, self.num_steps, vocabulary_size, seed=batch)


WHOLE_GRID = Grid()


def compare(wanted: Iterable[Outputs], model: OnnxModel, grid: Grid, *, tolerance: float = TOLERANCE) -> Parity:
    """What `export.parity.torch_outputs` gave against both graphs, which get a padded source axis with garbage beyond
    each length. Raises AxesDifferError, ValuesDifferError or TokensDifferError."""
    vocabulary_size = model.manifest.vocabulary.shared_size
    garbage = np.random.default_rng(0)
    differences: dict[str, Difference] = {}
    expected = iter(wanted)
    for bare in grid.rows(vocabulary_size):
        batch, longest = bare.source_ids.shape
        padded = bare.of_width(model.manifest.padded(longest), garbage, vocabulary_size)
        where = f"batch {batch}, source length {longest}"
        encoded = within_lengths(model, bare, next(expected))
        found = within_lengths(model, padded, encode_onnx(model, padded))
        for name in encoded:
            _note(differences, name, encoded[name], found[name][corner(encoded[name])], where, tolerance)
        for step, (ids, found) in enumerate(trace_onnx(model, padded)):
            here, made = f"{where}, step {step}", dict(next(expected))
            log_probabilities = made["candidate_log_probabilities"]
            _check_candidates(made.pop(CANDIDATE_IDS).astype(np.int64), log_probabilities, ids, here)
            made["candidate_log_probabilities"] = log_probabilities[:, :-1]
            if "attention" in made:
                beyond = padded.source_ids.shape[1] - longest
                made["attention"] = np.pad(made["attention"], ((0, 0), (0, beyond)))
            for name in made:
                _note(differences, name, made[name], found[name], here, tolerance)
    return Parity(
        batch_sizes=grid.batch_sizes,
        source_lengths=grid.source_lengths,
        num_steps=grid.num_steps,
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
