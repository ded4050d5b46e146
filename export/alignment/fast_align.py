"""Statistical word alignment: IBM Model 2 with a prior for the diagonal, trained by expectation maximisation.

Source: Dyer, Chahuneau and Smith 2013, "A Simple, Fast, and Effective Reparameterization of IBM Model 2", with the
defaults of the authors' program. It knows words, neither pieces nor models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

Words = Sequence[str]
Links = set[tuple[int, int]]
"""(source word, target word) of one sentence pair, from 0."""
Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

NULL_PROBABILITY = 0.08
DIRICHLET = 0.01
FIRST_TENSION, LEAST_TENSION, MOST_TENSION = 4.0, 0.1, 14.0
ASCENT_STEPS, ASCENT_RATE = 8, 20.0


@dataclass(frozen=True)
class _Cells:
    """Every target word against the null word and every source word of its sentence, all in one row of cells.

    starts (target words): where each one's cells begin, the null word's first; row (cells): which target word;
    is_null and diagonality -|i/m - j/n| (equation 2) (cells); pair (cells): which pair of a source and a target word,
    and source_of_pair (pairs).
    """

    starts: Ids
    row: Ids
    is_null: npt.NDArray[np.bool_]
    diagonality: Floats
    pair: Ids
    source_of_pair: Ids

    def sums(self, values: Floats) -> Floats:
        """Over each target word's cells; as many as there are cells."""
        sums: Floats = np.add.reduceat(values, self.starts)[self.row]
        return sums


def align(sources: Sequence[Words], targets: Sequence[Words], *, num_iterations: int = 5) -> list[Links]:
    """Train p(target | source) on all pairs, and link each target word to its likeliest source word, if to any."""
    cells = _cells(sources, targets)
    translation, tension = np.ones(len(cells.source_of_pair)), FIRST_TENSION
    for iteration in range(num_iterations):
        joint = _prior(cells, tension) * translation[cells.pair]
        posterior = joint / cells.sums(joint)
        translation = _translation(cells, posterior)
        if iteration > 0:
            tension = _fit_tension(cells, posterior, tension)
    return _best_links(cells, _prior(cells, tension) * translation[cells.pair], targets)


def align_both_ways(sources: Sequence[Words], targets: Sequence[Words]) -> list[tuple[Links, Links]]:
    """For each pair the links that both directions find, and those that either finds (Och and Ney 2003, section 4)."""
    backward = [{(source, target) for target, source in links} for links in align(targets, sources)]
    return [(one & other, one | other) for one, other in zip(align(sources, targets), backward, strict=True)]


def _cells(sources: Sequence[Words], targets: Sequence[Words]) -> _Cells:
    source_sizes, target_sizes = (np.array([len(words) for words in side], np.int64) for side in (sources, targets))
    sentence = np.repeat(np.arange(len(targets)), target_sizes)
    place = np.arange(len(sentence)) - (np.cumsum(target_sizes) - target_sizes)[sentence] + 1
    widths = source_sizes[sentence] + 1
    starts = np.cumsum(widths) - widths
    row = np.repeat(np.arange(len(widths)), widths)
    source_place = np.arange(len(row)) - starts[row]
    is_null = source_place == 0
    shares = (place / target_sizes[sentence])[row], source_place / np.maximum(widths - 1, 1)[row]
    offset = (np.cumsum(source_sizes) - source_sizes)[sentence]
    source = np.where(is_null, 0, _numbers(sources)[offset[row] + source_place - 1])
    target = _numbers(targets)
    pairs, pair = np.unique(source * (target.max() + 1) + target[row], return_inverse=True)
    return _Cells(starts, row, is_null, -np.abs(shares[0] - shares[1]), pair, pairs // (target.max() + 1))


def _numbers(side: Sequence[Words]) -> Ids:
    """All words of all sentences as numbers from 1."""
    known: dict[str, int] = {}
    return np.array([known.setdefault(word, len(known) + 1) for words in side for word in words], np.int64)


def _diagonal(cells: _Cells, tension: float) -> Floats:
    """p(source place | target place, lengths) of an alignment to a word, zero for the null word (equation 1)."""
    weights = np.where(cells.is_null, 0.0, np.exp(tension * cells.diagonality))
    return weights / np.maximum(cells.sums(weights), np.finfo(np.float64).tiny)


def _prior(cells: _Cells, tension: float) -> Floats:
    return np.where(cells.is_null, NULL_PROBABILITY, (1 - NULL_PROBABILITY) * _diagonal(cells, tension))


def _translation(cells: _Cells, posterior: Floats) -> Floats:
    """p(target word | source word) of each pair: variational Bayes with a symmetric Dirichlet prior (section 2.3)."""
    counts = np.bincount(cells.pair, posterior) + DIRICHLET
    totals = np.bincount(cells.source_of_pair, counts)[cells.source_of_pair]
    digamma_counts, digamma_totals = torch.digamma(torch.from_numpy(np.stack([counts, totals])))
    translation: Floats = torch.exp(digamma_counts - digamma_totals).numpy()
    return translation


def _fit_tension(cells: _Cells, posterior: Floats, tension: float) -> float:
    """Gradient ascent on the expected log-likelihood of the diagonal (section 2.2)."""
    linked = np.where(cells.is_null, 0.0, posterior)
    observed = linked @ cells.diagonality
    to_words = cells.sums(linked)
    for _ in range(ASCENT_STEPS):
        expected = (to_words * _diagonal(cells, tension)) @ cells.diagonality
        tension += ASCENT_RATE * float(observed - expected) / len(cells.starts)
        tension = min(max(tension, LEAST_TENSION), MOST_TENSION)
    return tension


def _best_links(cells: _Cells, scores: Floats, targets: Sequence[Words]) -> list[Links]:
    """The first best cell of each target word, as links; the null word links nothing."""
    best = np.flatnonzero(scores == np.maximum.reduceat(scores, cells.starts)[cells.row])
    _, first = np.unique(cells.row[best], return_index=True)
    source_places = iter((best[first] - cells.starts - 1).tolist())
    return [{(source, i) for i in range(len(words)) if (source := next(source_places)) >= 0} for words in targets]
