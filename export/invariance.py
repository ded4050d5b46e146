"""Proves that a row of the published graphs depends on nothing but itself: no bit changes with the padding, the
neighbours in the batch or the place.

It runs the graphs through the loader that serves, `service.model`, and knows no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from export.errors import InvarianceError
from export.recording import record, recorded
from export.trace import Outputs, Rows, corner, encode_onnx, make_rows, trace_onnx, within_lengths
from service.model.certificate import Invariance
from service.model.onnx_model import Ids, OnnxModel
from service.model.slots import Slots


def check_invariance(
    model: OnnxModel,
    sources: Sequence[Sequence[int]],
    *,
    num_rows: int = 64,
    num_steps: int = 12,
    scratch: Path | None = None,
) -> Invariance:
    """Prove that padding, neighbours and place change no bit of a row's results; raises InvarianceError.

    sources: some sentences, each ending in the end of the sentence; they are repeated to fill `num_rows`. scratch: the
    folder where outputs wait to be compared (default: the system's).
    """
    manifest = model.manifest
    vocabulary_size = manifest.vocabulary.shared_size
    crowd = [sources[i % len(sources)] for i in range(num_rows)]
    width = manifest.padded(max(map(len, crowd)))
    rows = make_rows(crowd, width, num_steps, vocabulary_size, seed=0)
    rng = np.random.default_rng(1)
    with TemporaryDirectory(dir=scratch) as folder:
        expected = Path(folder) / "expected"
        record(expected, _run(model, rows))

        for extra in (0, manifest.length_multiple, 3 * manifest.length_multiple):
            wider = rows.of_width(min(width + extra, manifest.padded(manifest.max_source_length)), rng, vocabulary_size)
            _require_same("padding", recorded(expected), _run(model, wider))

        for row in range(min(len(sources), 8)):
            one = rows.take(np.array([row])).of_width(manifest.padded(len(crowd[row])))
            _require_same("batch", _run(model, one), _rows_of(recorded(expected), slice(row, row + 1)))
        _require_same_lives(model, crowd, rng)

        order = rng.permutation(num_rows)
        moved = _run(model, rows.take(order), capacity=manifest.padded(num_steps), stale=rng)
        _require_same("placement", _rows_of(recorded(expected), order), moved)
    return Invariance(padding=0.0, batch=0.0, placement=0.0, num_rows=num_rows, num_sentences=len(sources[:num_rows]))


def _run(
    model: OnnxModel, rows: Rows, *, capacity: int | None = None, stale: np.random.Generator | None = None
) -> Iterator[Outputs]:
    """The encoder's outputs, then each step's; candidate ids as numbers like the rest."""
    yield within_lengths(model, rows, encode_onnx(model, rows))
    for ids, made in trace_onnx(model, rows, capacity=capacity, stale=stale):
        yield {"candidate_ids": ids.astype(np.float32), **made}


def _rows_of(steps: Iterable[Outputs], rows: slice | Ids) -> Iterator[Outputs]:
    for step in steps:
        yield {name: value[rows] for name, value in step.items()}


def _require_same(cause: str, expected: Iterable[Outputs], found: Iterator[Outputs]) -> None:
    for step, wanted in enumerate(expected):
        where = "the encoder" if step == 0 else f"step {step - 1}"
        _require_equal(cause, where, wanted, next(found))
        wanted.clear()
    assert next(found, None) is None


def _require_equal(cause: str, where: str, wanted: Outputs, made: Outputs) -> None:
    for name, value in wanted.items():
        other = made[name][corner(value)]
        if not np.array_equal(value, other):
            change = float(np.abs(value - other).max())
            raise InvarianceError(f"{cause} changes {name} in {where} by {change:g}")


def _require_same_lives(model: OnnxModel, crowd: Sequence[Sequence[int]], rng: np.random.Generator) -> None:
    """The rows that serve, where sentences join and leave while others are under way, against one at a time."""
    lifetimes = rng.integers(1, 16, len(crowd)).tolist()
    seeds = [i if i % 2 else None for i in range(len(crowd))]
    together = _lives(model, crowd, lifetimes, seeds, max(2, len(crowd) // 2))
    few = range(0, len(crowd), 5)
    alone = _lives(model, [crowd[i] for i in few], [lifetimes[i] for i in few], [seeds[i] for i in few], 1)
    for i, wanted in zip(few, alone, strict=True):
        if not np.array_equal(wanted, together[i]):
            raise InvarianceError(f"sentences that join and leave change the log-probabilities of sentence {i + 1}")


def _lives(
    model: OnnxModel, sources: Sequence[Sequence[int]], lifetimes: list[int], seeds: list[int | None], max_rows: int
) -> list[list[list[float]]]:
    """The candidates' log-probabilities of each source's first steps, at most three sources joining at a time."""
    slots, waiting, rows = Slots(model, max_rows), list(range(len(sources)))[::-1], list[int]()
    lives: list[list[list[float]]] = [[] for _ in sources]
    while waiting or rows:
        joining = [waiting.pop() for _ in range(min(len(waiting), max_rows - len(rows), 3))]
        if joining:
            slots.join(slots.encode([sources[i] for i in joining]), [seeds[i] for i in joining])
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
